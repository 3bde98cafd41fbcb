//! Guessing how a CSV file is written, from its beginning.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::records::{Fields, Records};
use super::{Format, guess_kind};
use crate::error::Result;
use crate::memory;
use crate::rows::encoding::Encoding;
use crate::rows::schema::{COLUMN_LIMIT, NAME_LIMIT, Names};
use crate::rows::source::io_error;
use crate::rows::{Column, ColumnType};

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// What memory is asked for.
const OPERATION: &str = "guess how a file is written";
/// A file with more columns is refused, so no more are looked at.
const MOST_COLUMNS: usize = COLUMN_LIMIT + 1;
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
    sniff_text(&decode(raw, encoding)?, is_cut, encoding)
}

/// Columns whose types hold for every record of a file; reads it once, with little memory.
pub fn guess_all_columns(file: &Path, format: &Format) -> Result<Vec<Column>> {
    let opened = File::open(file).map_err(|error| io_error("open", file, &error))?;
    let input = BufReader::with_capacity(1 << 16, format.encoding.reader(opened));
    guess_columns(Records::new(format, input), format.header, None)
}

/// The kinds of columns that hold for every record; so many of them as there are in the first one, where
/// nobody has told.
fn guess_columns(
    mut records: Records<impl BufRead>,
    has_header: bool,
    width: Option<usize>,
) -> Result<Vec<Column>> {
    let mut record = Fields::default();
    let mut names: Vec<String> = Vec::new();
    let mut guesses = vec![Guess::Nothing; width.unwrap_or(0).min(MOST_COLUMNS)];
    let mut is_header = has_header;
    while next(&mut records, &mut record)? {
        if guesses.is_empty() {
            guesses.resize(record.len().min(MOST_COLUMNS), Guess::Nothing);
        }
        if std::mem::take(&mut is_header) {
            names = record.iter().take(MOST_COLUMNS).map(name_of).collect();
            continue;
        }
        for (guess, field) in guesses.iter_mut().zip(record.iter()) {
            guess.see(std::str::from_utf8(field).unwrap_or("text"));
        }
    }
    let kinds: Vec<ColumnType> = guesses.into_iter().map(Guess::kind).collect();
    Ok(name_columns(&names, &kinds))
}

/// What cannot be read ends a guess, for the import itself will name it; a lack of memory does not.
fn next(records: &mut Records<impl BufRead>, record: &mut Fields) -> Result<bool> {
    records.read(record).or_else(|error| match memory::lacks(&error) {
        true => Err(memory::lacking(OPERATION)),
        false => Ok(false),
    })
}

/// As much of a name as it takes to see that it is too long.
fn name_of(field: &[u8]) -> String {
    String::from_utf8_lossy(&field[..field.len().min(NAME_LIMIT + 1)]).into_owned()
}

fn sniff_text(text: &str, is_cut: bool, encoding: Encoding) -> Result<Sniffed> {
    // What is cut would look like a record with too few fields.
    let text = if is_cut { text.rsplit_once('\n').map_or(text, |(whole, _)| whole) } else { text };
    let (delimiter, quote) = guess_marks(text)?;
    let mut format = Format { delimiter, quote, encoding, header: false };
    let first = first_records(text, &format)?;
    let width = usual_width(&first);
    format.header = has_header(&first, width);
    let all = Records::new(&format, text.as_bytes());
    let columns = guess_columns(all, format.header, Some(width))?;
    let shown = first.iter().skip(usize::from(format.header)).take(SHOWN);
    let sample = shown.map(shown_fields).collect::<Result<_>>()?;
    Ok(Sniffed { format, columns, sample })
}

fn shown_fields(record: &Fields) -> Result<Vec<String>> {
    let text = |field| memory::copied_text(std::str::from_utf8(field).unwrap_or_default(), OPERATION);
    record.iter().take(MOST_COLUMNS).map(text).collect()
}

/// The text of a sample; what is no text in it is replaced.
fn decode(raw: Vec<u8>, encoding: Encoding) -> Result<String> {
    let mut text = Vec::new();
    // Another error can only be a character that the end of the sample cuts, or rubbish that the
    // import will name; what came before is enough to guess from.
    if let Err(error) = encoding.reader(raw.as_slice()).read_to_end(&mut text)
        && memory::lacks(&error)
    {
        return Err(memory::lacking(OPERATION));
    }
    drop(raw);
    let text = match String::from_utf8(text) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    let mut whole = Vec::new();
    for chunk in text.utf8_chunks() {
        let replaced = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
        memory::grow(&mut whole, chunk.valid().len() + replaced.len(), OPERATION)?;
        whole.extend_from_slice(chunk.valid().as_bytes());
        whole.extend_from_slice(replaced.as_bytes());
    }
    Ok(String::from_utf8(whole).unwrap_or_default())
}

/// Those that are looked at before the types.
fn first_records(text: &str, format: &Format) -> Result<Vec<Fields>> {
    let mut records = Records::new(format, text.as_bytes());
    let mut first = Vec::new();
    let mut record = Fields::default();
    while first.len() < RECORDS && next(&mut records, &mut record)? {
        first.push(std::mem::take(&mut record));
    }
    Ok(first)
}

/// The delimiter that cuts the most records into the same number of fields, and its quote.
fn guess_marks(text: &str) -> Result<(u8, u8)> {
    let quote = if !text.contains('"') && quotes_fields(text, '\'') { b'\'' } else { b'"' };
    let mut best = (b',', 0.0, 0);
    for delimiter in DELIMITERS {
        let format = Format { delimiter, quote, ..Format::default() };
        let records = first_records(text, &format)?;
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
    Ok((best.0, quote))
}

/// True where a mark stands on both sides of fields, not only within words.
fn quotes_fields(text: &str, mark: char) -> bool {
    let starts = |part: &&str| part.len() > 1 && part.starts_with(mark) && part.ends_with(mark);
    let fields =
        |line: &str| line.split([',', ';', '\t', '|']).filter(|part| starts(&part.trim())).count();
    text.lines().take(RECORDS).map(fields).sum::<usize>() >= 2
}

fn usual_width(records: &[Fields]) -> usize {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for record in records {
        *counts.entry(record.len()).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(width, count)| (*count, *width)).map_or(0, |(width, _)| width)
}

/// A first record of distinct words, none of which comes again below it, is a header.
fn has_header(records: &[Fields], width: usize) -> bool {
    let Some((first, rest)) = records.split_first() else { return false };
    if first.len() != width {
        return false;
    }
    if first.len() > MOST_COLUMNS {
        return false;
    }
    let text = |field| std::str::from_utf8(field).unwrap_or_default();
    let distinct: HashSet<&str> = first.iter().map(|field| text(field).trim()).collect();
    let are_words = first.iter().map(text).all(|field| {
        !field.trim().is_empty() && field.len() <= NAME_LIMIT && guess_kind(field.trim()).is_none()
    });
    if distinct.len() < first.len() || !are_words {
        return false;
    }
    let recurs = |record: &Fields| record.iter().zip(first.iter()).any(|(field, name)| field == name);
    !rest.iter().any(recurs)
}

/// Columns of these kinds, with names that are complete and distinct.
fn name_columns(names: &[String], kinds: &[ColumnType]) -> Vec<Column> {
    let mut distinct = Names::default();
    let columns = kinds.iter().enumerate().map(|(place, kind)| {
        let wanted = names.get(place).map(|name| name.trim()).filter(|name| !name.is_empty());
        let wanted = wanted.map_or_else(|| format!("column{}", place + 1), str::to_owned);
        Column::new(distinct.distinct(&wanted), *kind)
    });
    columns.collect()
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
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn guessed(text: &str) -> (char, char, bool, Vec<(String, &'static str)>) {
        let Sniffed { format, columns, .. } = sniff_text(text, false, Encoding::Utf8).unwrap();
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
        let found = name_columns(&names, &[ColumnType::Text; 4]);
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
