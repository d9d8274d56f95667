//! CSV and TSV: a header line, then a record a row; fields may stand in quotes (RFC 4180, in TSV as well).

use std::path::Path;

use super::stray_quotes::Found;
use super::{Cell, Column, Names, Read, places};
use crate::text::utf8;
use crate::{Error, Result};
use csv::{ByteRecord, ErrorKind, Position, ReaderBuilder};

pub(super) fn read(file: &Path, content: &[u8], delimiter: u8, names: &Names, missing: &[String]) -> Result<Read> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(content);
    let mut at = Place { content, line: 1, byte: 0 };
    let header = reader.byte_headers().map_err(|e| fault(file, &e, &mut at))?.clone();
    if header.is_empty() {
        return Err(Error::data(file, "is empty: its first line should name the columns"));
    }
    let end = (reader.position().byte() as usize).min(content.len());
    if is_open(&content[..end], delimiter) {
        return Err(not_closed(file, 1));
    }
    let header: Vec<&str> = header.iter().map(|field| text(file, 1, field)).collect::<Result<_>>()?;
    let places = places(file, names, &header)?;

    let mut columns: Vec<Column> = vec![Vec::new(); places.len()];
    let mut lines = Vec::new();
    let mut record = ByteRecord::new();
    let mut found = Found::new(delimiter);
    while reader.read_byte_record(&mut record).map_err(|e| fault(file, &e, &mut at))? {
        let line = at.advance(record.position());
        lines.push(line);
        let end = (reader.position().byte() as usize).clamp(at.byte, content.len());
        found.add(&record, &content[at.byte..end], line);
        for (column, place) in columns.iter_mut().zip(&places) {
            let Some(place) = place else {
                column.push(None);
                continue;
            };
            let word = text(file, line, record.get(*place).unwrap_or_default())?;
            column.push((!missing.iter().any(|m| m == word)).then(|| Cell::Text(word.to_owned())));
        }
    }
    // A quote that nobody closes swallows the rest of the file, so only the last record can have one.
    if is_open(&content[at.byte..], delimiter) {
        return Err(not_closed(file, at.line));
    }
    Ok(Read { columns, lines: Some(lines), rows_in_quotes: found.rows_in_quotes() })
}

/// Where the reader is. Its own count of lines is that of the end of the record before, which may be some lines up.
struct Place<'a> {
    content: &'a [u8],
    line: u64,
    byte: usize,
}

impl Place<'_> {
    /// Goes on to a record, and says on which line it begins.
    fn advance(&mut self, to: Option<&Position>) -> u64 {
        let to = to.map_or(self.byte, |p| p.byte() as usize).clamp(self.byte, self.content.len());
        let to = to + self.content[to..].iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
        self.line += self.content[self.byte..to].iter().filter(|b| **b == b'\n').count() as u64;
        self.byte = to;
        self.line
    }
}

fn not_closed(file: &Path, line: u64) -> Error {
    Error::data(file, format!("line {line}: a quoted field that is not closed begins in this record"))
}

fn text<'a>(file: &Path, line: u64, field: &'a [u8]) -> Result<&'a str> {
    utf8(field).map_err(|e| Error::data(file, format!("line {line}: {e}")))
}

fn fault(file: &Path, e: &csv::Error, at: &mut Place<'_>) -> Error {
    match e.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = at.advance(pos.as_ref());
            let message = format!("line {line}: {len} fields where the header names {expected_len} columns");
            Error::data(file, message)
        }
        ErrorKind::Io(e) => Error::io(file, std::io::Error::new(e.kind(), e.to_string())),
        _ => Error::data(file, e.to_string()),
    }
}

/// Whether these records end inside quotes.
fn is_open(records: &[u8], delimiter: u8) -> bool {
    let (mut quoted, mut at_start) = (false, true);
    for byte in records {
        match byte {
            // A doubled quote closes and opens again, which comes to the same.
            b'"' if quoted => (quoted, at_start) = (false, true),
            b'"' if at_start => quoted = true,
            _ if quoted => {}
            other => at_start = *other == delimiter || matches!(other, b'\n' | b'\r'),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_followed_to_their_end() {
        for (records, open) in [
            ("a,b\n", false),
            ("a,\"b\n", true),
            ("a,\"b\"\"\n", true),
            ("a,\"b\"\"\"\n", false),
            ("\"a\n,\"\"b\",c\n", false),
            ("5\" pipe,b\n", false),
            ("\"\",\"\"", false),
        ] {
            assert_eq!(is_open(records.as_bytes(), b','), open, "{records}");
        }
    }
}
