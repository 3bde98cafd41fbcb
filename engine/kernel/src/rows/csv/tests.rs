#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::error::{Code, Field};
use crate::rows::source::{Source, Target};
use crate::rows::{Row, Schema};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("holdfast-csv-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn schema(columns: Vec<Column>) -> Schema {
    Schema { name: "t".into(), columns, primary_key: vec![], indexes: vec![] }
}

fn read(file: &Path, format: Format, columns: Vec<Column>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    CsvSource::open(file, format, schema(columns))?.read(0, &mut |row, _| {
        rows.push(row.clone());
        Ok(())
    })?;
    Ok(rows)
}

#[test]
fn a_file_is_read_as_it_was_guessed() {
    let file = folder("guess").join("people.csv");
    let text = "\u{feff}id;name;score\r\n1;\"Ann \"\"A\"\"\nLee\";1.5\r\n2;Bo;\r\n";
    fs::write(&file, text).unwrap();
    let sniffed = sniff(&file, 1 << 20).unwrap();
    assert_eq!(sniffed.format.encoding, Encoding::Utf8Bom);
    assert_eq!(sniffed.sample[1], ["2", "Bo", ""]);
    let rows = read(&file, sniffed.format, sniffed.columns).unwrap();
    let expected = [
        vec![Value::Integer(1), "Ann \"A\"\nLee".into(), Value::Real(1.5)],
        vec![Value::Integer(2), "Bo".into(), Value::Null],
    ];
    assert_eq!(rows, expected);
}

#[test]
fn bad_input_names_file_line_and_column_but_no_value() {
    let file = folder("bad").join("t.csv");
    let columns = || vec![Column::new("id", ColumnType::Integer), Column::new("x", ColumnType::Text)];
    for (text, line, column, issue) in [
        ("id,x\n1,a\n\"2\n\",b\nsecret,c\n", 5, "id", "no integer"),
        ("id,x\n1,a\n2\n", 3, "2", "fields: 1, expected: 2"),
        ("id,x\n1,a,b\n", 2, "3", "fields: 3, expected: 2"),
    ] {
        fs::write(&file, text).unwrap();
        let error = read(&file, Format::default(), columns()).unwrap_err();
        assert_eq!(error.code, Code::BadInput);
        assert_eq!(error.field("line"), Some(&Field::Int(line)), "{error}");
        assert_eq!(error.field("column"), Some(&Field::from(column)));
        let text = error.to_string();
        assert!(text.contains(issue) && text.contains("t.csv") && !text.contains("secret"), "{text}");
    }
    fs::write(&file, b"id,x\n1,\xff\n").unwrap();
    let error = read(&file, Format::default(), columns()).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
    let error = read(&file.join("none"), Format::default(), columns()).unwrap_err();
    assert_eq!(error.code, Code::IoError);
}

#[test]
fn what_is_written_reads_back() {
    let place = folder("write").join("out.csv");
    let columns = || {
        let mut name = Column::new("name", ColumnType::Text);
        name.not_null = true;
        let kinds = [("i", ColumnType::Integer), ("r", ColumnType::Real), ("b", ColumnType::Blob)];
        let mut columns = vec![name];
        columns.extend(kinds.map(|(name, kind)| Column::new(name, kind)));
        columns
    };
    let rows = [
        vec![
            "a,\"b\"\r\n".into(),
            Value::Integer(i64::MIN),
            Value::Real(0.1),
            Value::Blob(vec![0, 255]),
        ],
        vec!["".into(), Value::Null, Value::Real(1e300), Value::Null],
        vec!["ä".into(), Value::Integer(7), Value::Real(f64::NEG_INFINITY), Value::Null],
    ];
    let mut target = Box::new(CsvTarget::create(&place, 1).unwrap());
    target.begin(&schema(columns())).unwrap();
    for row in &rows {
        target.write(row).unwrap();
    }
    assert!(!place.exists(), "nothing is at its place before the end");
    target.finish().unwrap();
    assert_eq!(read(&place, Format::default(), columns()).unwrap(), rows);
    assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_target_that_is_dropped_leaves_nothing() {
    let place = folder("drop").join("out.csv");
    let mut target = CsvTarget::create(&place, 1).unwrap();
    target.begin(&schema(vec![Column::new("a", ColumnType::Any)])).unwrap();
    target.write(&["x".into()]).unwrap();
    drop(target);
    assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_file_with_more_columns_than_a_table_may_have_is_refused_at_once() {
    let file = folder("wide").join("wide.csv");
    // All of one name: to make each distinct from all others would take a while.
    for line in ["1,".repeat(200_000), "name,".repeat(200_000)] {
        fs::write(&file, format!("{line}\n{line}\n")).unwrap();
        let sniffed = sniff(&file, 0).unwrap();
        for columns in [sniffed.columns, guess_all_columns(&file, &sniffed.format).unwrap()] {
            assert_eq!(columns.len(), crate::rows::schema::COLUMN_LIMIT + 1);
            let source = CsvSource::open(&file, Format::default(), schema(columns));
            assert_eq!(source.err().map(|error| error.code), Some(Code::SchemaInvalid));
        }
    }
}

/// Prints rows per second of reading, typing and encoding; run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_a_million_rows() {
    use std::fmt::Write as _;
    let file = folder("measure").join("m.csv");
    let mut text = String::from("id,name,city,price,count\n");
    for id in 0..1_000_000u64 {
        let noise = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        writeln!(
            text,
            "{id},name {noise:x},city {},{}.{},{}",
            noise % 977,
            noise % 1000,
            id % 100,
            noise % 65536
        )
        .unwrap();
    }
    fs::write(&file, &text).unwrap();
    let sniffed = sniff(&file, 1 << 20).unwrap();
    let started = std::time::Instant::now();
    let schema = Schema { primary_key: vec![0], ..schema(sniffed.columns) };
    let (mut bytes, mut key, mut sum) = (Vec::new(), Vec::new(), 0);
    let mut source = CsvSource::open(&file, sniffed.format, schema.clone()).unwrap();
    let rows = source.read(0, &mut |row, _| {
        crate::rows::check::row(&schema, row)?;
        bytes.clear();
        key.clear();
        crate::rows::key::encode(&mut key, &row[0], crate::rows::Collation::Binary);
        crate::rows::record::encode(&mut bytes, row).unwrap();
        sum += bytes.len() + key.len();
        Ok(())
    });
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{:.0} rows/s, {:.0} MB/s in, {sum} bytes out",
        rows.unwrap() as f64 / seconds,
        text.len() as f64 / seconds / 1e6
    );
}
