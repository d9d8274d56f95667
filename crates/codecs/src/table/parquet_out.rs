//! [`ParquetWriter`]: a table of texts and numbers, written some rows at a time.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::errors::Result as Written;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use crate::{Error, Result};

/// Some rows of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Texts.
    Texts(Vec<String>),
    /// Numbers, some of which may be missing.
    Numbers(Vec<Option<f32>>),
}

/// Writes Parquet, one row group each time.
pub struct ParquetWriter<'a>(SerializedFileWriter<Out<'a>>);

type Out<'a> = Box<dyn Write + Send + 'a>;

impl std::fmt::Debug for ParquetWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetWriter").finish_non_exhaustive()
    }
}

impl<'a> ParquetWriter<'a> {
    /// A file with these columns, texts where it says so and numbers elsewhere.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(out: Box<dyn Write + Send + 'a>, columns: &[(String, bool)]) -> Result<Self> {
        let field = |(name, text): &(String, bool)| {
            let (physical, logical, repetition) = match text {
                true => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
                false => (Physical::FLOAT, None, Repetition::OPTIONAL),
            };
            let builder = Type::primitive_type_builder(name, physical);
            Ok(Arc::new(builder.with_logical_type(logical).with_repetition(repetition).build()?))
        };
        let start = || {
            let fields = columns.iter().map(field).collect::<Written<_>>()?;
            let schema = Type::group_type_builder("rows").with_fields(fields).build()?;
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))
        };
        start().map(Self).map_err(unwritten)
    }

    /// More rows: the values of each column, as many in all of them.
    ///
    /// # Errors
    /// When they cannot be written, or are not of the kinds announced.
    pub fn write(&mut self, columns: &[Values]) -> Result<()> {
        let mut write = || -> Written<()> {
            let mut group = self.0.next_row_group()?;
            let mut columns = columns.iter();
            while let (Some(mut column), Some(values)) = (group.next_column()?, columns.next()) {
                match values {
                    Values::Texts(texts) => {
                        let bytes: Vec<ByteArray> = texts.iter().map(|t| ByteArray::from(t.as_str())).collect();
                        column.typed::<ByteArrayType>().write_batch(&bytes, None, None)?;
                    }
                    Values::Numbers(numbers) => {
                        let there: Vec<f32> = numbers.iter().flatten().copied().collect();
                        let levels: Vec<i16> = numbers.iter().map(|n| i16::from(n.is_some())).collect();
                        column.typed::<FloatType>().write_batch(&there, Some(&levels), None)?;
                    }
                }
                column.close()?;
            }
            group.close().map(drop)
        };
        write().map_err(unwritten)
    }

    /// Ends the file; without this it cannot be read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(self) -> Result<()> {
        self.0.close().map(drop).map_err(unwritten)
    }
}

fn unwritten(e: impl std::fmt::Display) -> Error {
    Error::Write(e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Cell, Table};

    #[test]
    fn what_is_written_is_read_again() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let columns = [("name, with \"signs\"".to_owned(), true), ("score".to_owned(), false)];
        let mut writer = ParquetWriter::new(Box::new(std::fs::File::create(&path).unwrap()), &columns)?;
        for (text, number) in [("a", Some(0.5)), ("ä\n", None)] {
            writer.write(&[Values::Texts(vec![text.to_owned()]), Values::Numbers(vec![number])])?;
        }
        writer.end()?;
        let names = columns.map(|(name, _)| name);
        let table = Table::read(&path, &names.each_ref().map(String::as_str), &[])?;
        let texts: Vec<_> = table.column(&names[0])?.iter().map(|c| c.as_ref().and_then(Cell::word).unwrap()).collect();
        assert_eq!(texts, ["a", "ä\n"]);
        let numbers: Vec<_> = table.column(&names[1])?.iter().map(|c| c.as_ref().and_then(Cell::number)).collect();
        assert_eq!(numbers, [Some(0.5), None]);
        Ok(())
    }
}
