//! [`RowsInQuotes`]: rows that a stray quote made part of a field.
//!
//! A quote at the start of a field makes everything up to the next quote one field, the ends of lines included. Texts
//! whose quotes are characters like others lose rows in this way, and no row has a wrong number of fields for it.

use csv::ByteRecord;

/// Quoted fields over several lines that look like rows of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsInQuotes {
    /// Number of such fields.
    pub fields: usize,
    /// Number of lines in them that look like rows, the one that each begins on not counted.
    pub lines: usize,
    /// The line, counted from 1, on which the record of the first one begins.
    pub first_line: u64,
}

/// What was found so far.
pub(super) struct Found {
    delimiter: u8,
    rows: Option<RowsInQuotes>,
}

impl Found {
    pub(super) fn new(delimiter: u8) -> Self {
        Self { delimiter, rows: None }
    }

    /// Looks at a record, which has these bytes in the file and begins on this line.
    pub(super) fn add(&mut self, record: &ByteRecord, bytes: &[u8], line: u64) {
        // Lines of a single column have no delimiter to go by.
        if record.len() < 2 || !record.iter().any(|field| field.contains(&b'\n')) {
            return;
        }
        let stray = closes_within_text(bytes, self.delimiter);
        for (place, field) in record.iter().enumerate().filter(|(_, field)| field.contains(&b'\n')) {
            let lines = self.rows_within(record.len() - 1, place, field, stray);
            if lines > 0 {
                let so_far = self.rows.unwrap_or(RowsInQuotes { fields: 0, lines: 0, first_line: line });
                self.rows = Some(RowsInQuotes { fields: so_far.fields + 1, lines: so_far.lines + lines, ..so_far });
            }
        }
    }

    pub(super) fn rows_in_quotes(&self) -> Option<RowsInQuotes> {
        self.rows
    }

    /// How many lines of a field, after its first, look like rows with so many delimiters; 0 where the field is rather a
    /// text of several lines: each line has to look like a row and at least one lies within it whole, or, of a field
    /// whose end is `stray`, one line.
    fn rows_within(&self, delimiters: usize, place: usize, field: &[u8], stray: bool) -> usize {
        let lines: Vec<&[u8]> = field.split(|byte| *byte == b'\n').collect();
        let last = lines.len() - 1;
        let is_row = |(i, line): (usize, &&[u8])| {
            let outside = match i {
                0 => place,
                i if i == last => delimiters - place,
                _ => 0,
            };
            outside + line.iter().filter(|byte| **byte == self.delimiter).count() == delimiters
        };
        let is_blank = |i: usize| i != 0 && i != last && lines[i].trim_ascii().is_empty();
        let rows: Vec<bool> = lines.iter().enumerate().map(is_row).collect();
        let all = rows.iter().enumerate().all(|(i, is_row)| *is_row || is_blank(i));
        let within = rows[1..last].iter().any(|is_row| *is_row);
        if stray || (all && within) { rows[1..].iter().filter(|is_row| **is_row).count() } else { 0 }
    }
}

/// Whether a quote that ends a field stands before more of it: `"a" b`, which no program writes.
fn closes_within_text(record: &[u8], delimiter: u8) -> bool {
    let (mut quoted, mut at_start) = (false, true);
    let mut bytes = record.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if quoted && bytes.peek() == Some(&b'"') => _ = bytes.next(),
            b'"' if quoted => {
                (quoted, at_start) = (false, false);
                if bytes.peek().is_some_and(|next| *next != delimiter && !matches!(next, b'\n' | b'\r')) {
                    return true;
                }
            }
            b'"' if at_start => quoted = true,
            _ if quoted => {}
            other => at_start = other == delimiter || matches!(other, b'\n' | b'\r'),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::RowsInQuotes;
    use std::path::Path;

    fn found(content: &str) -> (usize, Option<(usize, usize, u64)>) {
        let table = Table::parse(Path::new("t.csv"), content.as_bytes(), &["y"], &[], &[]).unwrap();
        let shown = |r: RowsInQuotes| (r.fields, r.lines, r.first_line);
        (table.rows(), table.rows_in_quotes().map(shown))
    }

    #[test]
    fn rows_in_a_stray_quote_are_counted() {
        let rows = "1,2,a,u\n3,4,\"b,v\n5,6,c,u\n\n7,8,d,v\n9,0,\"e,u\n";
        assert_eq!(found(&format!("n,m,t,y\n{rows}")), (2, Some((1, 3, 3))));
        assert_eq!(found(&format!("n,m,t,y\n{rows}{rows}")), (4, Some((2, 6, 3))));
        assert_eq!(found("t,y\r\na,u\r\n\"b,v\r\nc 5\" d,u\r\n"), (2, Some((1, 1, 3))), "two rows, one of them stray");
        assert_eq!(found("t,y\n\"b,v\nc,u\nd 5\",u\n"), (1, Some((1, 2, 2))), "a quote before a delimiter");
        assert_eq!(found("y,t\nu,\"b\nv,c\nu,5\"\n"), (1, Some((1, 2, 2))), "in the last column");
    }

    #[test]
    fn texts_of_several_lines_are_no_rows() {
        for text in [
            "t,y\n\"Dear Ann,\nthank you, all of you, for this.\nBob\",u\n",
            "t,y\n\"one\ntwo, three\nfour\",u\n",
            "t,y\n\"one, two\nthree\",u\n",
            "t,y\n\"a \"\"b\"\",\nc\",u\n",
            "n,t,y\n1,\"a\n\nb\",u\n2,\"c, d\",v\n",
            "y\n\"a\nb\"\n",
            "t,y\n\"a\" b,u\n",
        ] {
            assert_eq!(found(text).1, None, "{text}");
        }
    }
}
