//! Guessing how a CSV file is written, from its beginning.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Format, guess_kind};
use crate::error::Result;
use crate::rows::encoding::Encoding;
use crate::rows::schema::{NAME_LIMIT, same_name};
use crate::rows::source::io_error;
use crate::rows::{Column, ColumnType};

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Records looked at for the delimiter; types are guessed from all of the sample.
const RECORDS: usize = 200;
const SHOWN: usize = 20;

/// A guess at how a file is written, to be shown and changed before anything is imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Sniffed {
    pub format: Format,
    pub columns: Vec<Column>,
    /// The first rows as they stand in the file, without the header.
    pub sample: Vec<Vec<String>>,
}

/// Guesses from the first `sample_bytes` of a file; zero stands for the whole of it.
pub fn sniff(file: &Path, sample_bytes: u64) -> Result<Sniffed> {
    let sample_bytes = if sample_bytes == 0 { u64::MAX } else { sample_bytes };
    let mut raw = Vec::new();
    let opened = File::open(file).map_err(|error| io_error("open", file, &error))?;
    // One more byte tells whether the sample ends before the file does.
    let limit = sample_bytes.saturating_add(1);
    opened.take(limit).read_to_end(&mut raw).map_err(|error| io_error("read", file, &error))?;
    let is_cut = raw.len() as u64 > sample_bytes;
    if is_cut {
        raw.truncate(sample_bytes as usize);
    }
    let encoding = Encoding::guess(&raw, is_cut);
    Ok(sniff_text(&decode(&raw, encoding), is_cut, encoding))
}

/// Columns whose types hold for every record of a file; reads it once, with little memory.
pub fn guess_all_columns(file: &Path, format: &Format) -> Result<Vec<Column>> {
    let opened = File::open(file).map_err(|error| io_error("open", file, &error))?;
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(format.delimiter)
        .quote(format.quote)
        .buffer_capacity(1 << 16)
        .from_reader(format.encoding.reader(opened));
    let mut record = ::csv::ByteRecord::new();
    let mut names = Vec::new();
    let mut guesses: Vec<Guess> = Vec::new();
    let mut is_header = format.header;
    // What cannot be read ends the guess; the import itself will name it.
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        if std::mem::take(&mut is_header) {
            names = record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
            guesses.resize(names.len(), Guess::Nothing);
            continue;
        }
        if guesses.is_empty() {
            guesses.resize(record.len(), Guess::Nothing);
        }
        for (guess, field) in guesses.iter_mut().zip(&record) {
            guess.see(std::str::from_utf8(field).unwrap_or("text"));
        }
    }
    let kinds: Vec<ColumnType> = guesses.into_iter().map(Guess::kind).collect();
    Ok(name_columns(&names, &kinds))
}

fn sniff_text(text: &str, is_cut: bool, encoding: Encoding) -> Sniffed {
    // What is cut would look like a record with too few fields.
    let text = if is_cut { text.rsplit_once('\n').map_or(text, |(whole, _)| whole) } else { text };
    let (delimiter, quote) = guess_marks(text);
    let mut records = records(text, delimiter, quote, usize::MAX);
    let width = usual_width(&records);
    let header = has_header(&records, width);
    let names = if header { records.remove(0) } else { Vec::new() };
    let columns = guess_columns(&names, &records, width);
    records.truncate(SHOWN);
    Sniffed { format: Format { delimiter, quote, encoding, header }, columns, sample: records }
}

fn decode(raw: &[u8], encoding: Encoding) -> String {
    let mut text = Vec::new();
    // An error can only be a character that the end of the sample cuts, or rubbish that the
    // import will name; what came before is enough to guess from.
    let _ = encoding.reader(raw).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn records(text: &str, delimiter: u8, quote: u8, limit: usize) -> Vec<Vec<String>> {
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .quote(quote)
        .from_reader(text.as_bytes());
    let fields = |record: ::csv::StringRecord| record.iter().map(str::to_owned).collect();
    reader.records().take(limit).filter_map(|record| record.ok().map(fields)).collect()
}

/// The delimiter that cuts the most records into the same number of fields, and its quote.
fn guess_marks(text: &str) -> (u8, u8) {
    let quote = if !text.contains('"') && quotes_fields(text, '\'') { b'\'' } else { b'"' };
    let mut best = (b',', 0.0, 0);
    for delimiter in DELIMITERS {
        let records = records(text, delimiter, quote, RECORDS);
        let width = usual_width(&records);
        if width < 2 {
            continue;
        }
        let agreeing = records.iter().filter(|record| record.len() == width).count();
        let share = agreeing as f64 / records.len() as f64;
        // Text within fields may hold another delimiter: agreement counts before width.
        if share > best.1 + 0.05 || (share > best.1 - 0.05 && width > best.2) {
            best = (delimiter, share, width);
        }
    }
    (best.0, quote)
}

/// True where a mark stands on both sides of fields, not only within words.
fn quotes_fields(text: &str, mark: char) -> bool {
    let starts = |part: &&str| part.len() > 1 && part.starts_with(mark) && part.ends_with(mark);
    let fields =
        |line: &str| line.split([',', ';', '\t', '|']).filter(|part| starts(&part.trim())).count();
    text.lines().take(RECORDS).map(fields).sum::<usize>() >= 2
}

fn usual_width(records: &[Vec<String>]) -> usize {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for record in records.iter().take(RECORDS) {
        *counts.entry(record.len()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(width, count)| (*count, *width)).map_or(0, |(width, _)| width)
}

/// A first record of distinct words, none of which comes again below it, is a header.
fn has_header(records: &[Vec<String>], width: usize) -> bool {
    let Some((first, rest)) = records.split_first() else { return false };
    if first.len() != width {
        return false;
    }
    let distinct: HashSet<&str> = first.iter().map(|field| field.trim()).collect();
    let are_words = first.iter().all(|field| {
        !field.trim().is_empty() && field.len() <= NAME_LIMIT && guess_kind(field.trim()).is_none()
    });
    if distinct.len() < first.len() || !are_words {
        return false;
    }
    let recurs = |record: &Vec<String>| record.iter().zip(first).any(|(field, name)| field == name);
    !rest.iter().take(RECORDS).any(recurs)
}

fn guess_columns(names: &[String], records: &[Vec<String>], width: usize) -> Vec<Column> {
    let mut guesses = vec![Guess::Nothing; width];
    for record in records {
        guesses.iter_mut().zip(record).for_each(|(guess, field)| guess.see(field));
    }
    let kinds: Vec<ColumnType> = guesses.into_iter().map(Guess::kind).collect();
    name_columns(names, &kinds)
}

/// Columns of these kinds, with names that are complete and distinct.
fn name_columns(names: &[String], kinds: &[ColumnType]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::with_capacity(kinds.len());
    for (place, kind) in kinds.iter().enumerate() {
        let wanted = names.get(place).map(|name| name.trim()).filter(|name| !name.is_empty());
        let wanted = wanted.map_or_else(|| format!("column{}", place + 1), str::to_owned);
        let is_taken = |name: &str| columns.iter().any(|column| same_name(&column.name, name));
        let mut name = wanted.clone();
        let mut number = 2;
        while is_taken(&name) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        columns.push(Column::new(name, *kind));
    }
    columns
}

/// What the fields of a column have been so far.
#[derive(Clone, Copy, PartialEq)]
enum Guess {
    Nothing,
    Integer,
    Real,
    Text,
}

impl Guess {
    fn see(&mut self, field: &str) {
        if *self == Guess::Text || field.is_empty() {
            return;
        }
        *self = match (*self, guess_kind(field.trim())) {
            (_, None) => Guess::Text,
            (Guess::Nothing | Guess::Integer, Some(ColumnType::Integer)) => Guess::Integer,
            _ => Guess::Real,
        };
    }

    fn kind(self) -> ColumnType {
        match self {
            Guess::Integer => ColumnType::Integer,
            Guess::Real => ColumnType::Real,
            Guess::Nothing | Guess::Text => ColumnType::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(text: &str) -> (char, char, bool, Vec<(String, &'static str)>) {
        let Sniffed { format, columns, .. } = sniff_text(text, false, Encoding::Utf8);
        let columns = columns.into_iter().map(|column| (column.name, column.kind.name())).collect();
        (char::from(format.delimiter), char::from(format.quote), format.header, columns)
    }

    fn columns(columns: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
        columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
    }

    #[test]
    fn separator_header_and_types_are_guessed() {
        let text = "id,name,price,zip\n1,Ann,2.5,01234\n2,\"B, ob\",3,99999\n3,,,\n";
        let expected = [("id", "integer"), ("name", "text"), ("price", "real"), ("zip", "text")];
        assert_eq!(guessed(text), (',', '"', true, columns(&expected)));
    }

    #[test]
    fn semicolons_with_decimal_commas_are_semicolons() {
        let (delimiter, ..) = guessed("name;preis\nA;1,5\nB;2,5\nC;3,75\n");
        assert_eq!(delimiter, ';');
    }

    #[test]
    fn a_file_of_numbers_has_no_header() {
        let expected = [("column1", "integer"), ("column2", "integer")];
        assert_eq!(guessed("1\t2\n3\t4\n"), ('\t', '"', false, columns(&expected)));
    }

    #[test]
    fn names_are_made_distinct_and_complete() {
        let expected = [("a", "text"), ("b", "text"), ("a_2", "text"), ("column4", "text")];
        let names = ["a", "b", "A", ""].map(str::to_owned);
        let found = guess_columns(&names, &[vec!["x".to_owned(); 4]], 4);
        let found: Vec<_> = found.into_iter().map(|column| (column.name, column.kind.name())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, kind)| (name.replace("a_2", "A_2"), *kind)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn single_quotes_are_seen_and_apostrophes_are_not_quotes() {
        assert_eq!(guessed("a,b\n'x','y, z'\n'u','v'\n").1, '\'');
        assert_eq!(guessed("a,b\nit's,she's\nhe's,we're\n").1, '"');
    }

    #[test]
    fn an_empty_file_is_a_guess_too() {
        assert_eq!(guessed(""), (',', '"', false, vec![]));
    }
}
