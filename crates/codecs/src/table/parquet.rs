//! Parquet: column by column, with nulls; a struct of plain values is one column. Lists, maps, dates and decimals are
//! not read, and only an error when they are asked for.
//!
//! The low-level readers of the `parquet` crate are used, without arrow: a build of some 30 crates instead of 60.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{Cell, Column, Names, places};
use crate::{Error, Result};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

/// Values that are decoded at a time.
const CHUNK: usize = 4096;

pub(super) fn read(file: &Path, names: &Names) -> Result<Vec<Column>> {
    let opened = File::open(file).map_err(|e| Error::io(file, e))?;
    // The decoders assert what a sound file keeps, so a damaged one can make them panic.
    let read = catch_unwind(AssertUnwindSafe(|| columns(file, opened, names)));
    read.unwrap_or_else(|_| Err(Error::data(file, "is damaged: its pages cannot be decoded")))
}

fn columns(file: &Path, opened: File, names: &Names) -> Result<Vec<Column>> {
    let fault = |message: String| Error::data(file, message);
    let reader = SerializedFileReader::new(opened).map_err(|e| fault(format!("is no whole Parquet file: {e}")))?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let roots = schema.root_schema().get_fields();
    let there: Vec<&str> = roots.iter().map(|field| field.name()).collect();
    let rows = reader.metadata().file_metadata().num_rows();
    let mut columns = Vec::new();
    for (root, name) in places(file, names, &there)?.into_iter().zip(&names.all) {
        let Some(root) = root else {
            columns.push(vec![None; usize::try_from(rows).unwrap_or_default()]);
            continue;
        };
        let wanted = Wanted::new(schema, root).map_err(|e| fault(format!("column `{name}`: {e}")))?;
        let mut column = Column::new();
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).map_err(|e| fault(e.to_string()))?;
            wanted.read(group.as_ref(), &mut column).map_err(|e| fault(format!("column `{name}`: {e}")))?;
        }
        columns.push(column);
    }
    match columns.iter().zip(&names.all).find(|(column, _)| i64::try_from(column.len()) != Ok(rows)) {
        Some((column, name)) => Err(fault(format!("column `{name}`: {} values for {rows} rows", column.len()))),
        None => Ok(columns),
    }
}

/// A column: a leaf of the schema, or a group of leaves.
struct Wanted<'a> {
    leaves: Vec<(usize, &'a ColumnDescriptor)>,
    /// For a struct the definition level from which on it is there.
    group: Option<i16>,
}

impl<'a> Wanted<'a> {
    fn new(schema: &'a SchemaDescriptor, root: usize) -> Result<Self, String> {
        let of_root = |leaf: &usize| schema.get_column_root_idx(*leaf) == root;
        let leaves: Vec<_> = (0..schema.num_columns()).filter(of_root).collect();
        let leaves: Vec<_> = leaves.into_iter().map(|i| (i, schema.columns()[i].as_ref())).collect();
        for (_, leaf) in &leaves {
            if leaf.max_rep_level() > 0 || leaf.path().parts().len() > 2 {
                return Err("holds lists, maps or structs in structs, which are not read".to_owned());
            }
            check_type(leaf)?;
        }
        let field = &schema.root_schema().get_fields()[root];
        let group = field.is_group().then(|| i16::from(field.is_optional()));
        Ok(Self { leaves, group })
    }

    /// Adds the values of a row group.
    fn read(&self, group: &dyn RowGroupReader, column: &mut Column) -> Result<(), String> {
        let mut read = Vec::new();
        for (i, leaf) in &self.leaves {
            let reader = group.get_column_reader(*i).map_err(|e| e.to_string())?;
            read.push(leaf_values(reader, leaf).map_err(|e| format!("row {}: {}", column.len() + e.0, e.1))?);
        }
        let Some(there_from) = self.group else {
            column.extend(read.into_iter().flat_map(|leaf| leaf.values));
            return Ok(());
        };
        let rows = read.first().map_or(0, |leaf| leaf.values.len());
        if read.iter().any(|leaf| leaf.values.len() != rows) {
            return Err("the members of the struct differ in their rows".to_owned());
        }
        for row in 0..rows {
            let there = read.first().is_none_or(|leaf| leaf.levels.get(row).is_none_or(|level| *level >= there_from));
            let names = self.leaves.iter().map(|(_, leaf)| leaf.name().to_owned());
            let members = names.zip(read.iter_mut().map(|leaf| leaf.values[row].take()));
            let members = members.collect();
            column.push(there.then_some(Cell::Struct(members)));
        }
        Ok(())
    }
}

/// The values of a leaf, and the definition level of each where it can be null.
struct Leaf {
    values: Column,
    levels: Vec<i16>,
}

/// A row of the row group, and what is wrong with it.
type Fault = (usize, String);

fn leaf_values(reader: ColumnReader, leaf: &ColumnDescriptor) -> Result<Leaf, Fault> {
    use ColumnReader as R;
    let unsigned = matches!(leaf.converted_type(), ConvertedType::UINT_8 | ConvertedType::UINT_16)
        || matches!(leaf.converted_type(), ConvertedType::UINT_32 | ConvertedType::UINT_64);
    let number = |v: f64| Ok((!v.is_nan()).then_some(Cell::Number(v)));
    match reader {
        R::BoolColumnReader(r) => drain(r, leaf, |v| Ok(Some(Cell::Truth(*v)))),
        R::Int32ColumnReader(r) => drain(r, leaf, |v: &i32| {
            Ok(Some(Cell::Integer(if unsigned { i128::from(v.cast_unsigned()) } else { i128::from(*v) })))
        }),
        R::Int64ColumnReader(r) => drain(r, leaf, |v: &i64| {
            Ok(Some(Cell::Integer(if unsigned { i128::from(v.cast_unsigned()) } else { i128::from(*v) })))
        }),
        R::FloatColumnReader(r) => drain(r, leaf, |v| number(f64::from(*v))),
        R::DoubleColumnReader(r) => drain(r, leaf, |v| number(*v)),
        R::ByteArrayColumnReader(r) => {
            let is_text = leaf.converted_type() != ConvertedType::NONE || leaf.logical_type_ref().is_some();
            drain(r, leaf, |v: &ByteArray| {
                if !is_text {
                    return Ok(Some(Cell::Bytes(v.data().to_vec())));
                }
                let text = std::str::from_utf8(v.data()).map_err(|e| format!("is not UTF-8: {e}"))?;
                Ok(Some(Cell::Text(text.to_owned())))
            })
        }
        R::FixedLenByteArrayColumnReader(r) => drain(r, leaf, |v| Ok(Some(Cell::Bytes(v.data().to_vec())))),
        R::Int96ColumnReader(_) => Err((0, "holds times, which are not read".to_owned())),
    }
}

/// Reads a leaf to the end of its row group.
fn drain<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    leaf: &ColumnDescriptor,
    cell: impl Fn(&T::T) -> Result<Option<Cell>, String>,
) -> Result<Leaf, Fault> {
    let there = leaf.max_def_level();
    let (mut all, mut every) = (Column::new(), Vec::new());
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    loop {
        values.clear();
        levels.clear();
        let into = (there > 0).then_some(&mut levels);
        let read = reader.read_records(CHUNK, into, None, &mut values).map_err(|e| (all.len(), e.to_string()))?;
        if read.0 == 0 {
            return Ok(Leaf { values: all, levels: every });
        }
        let mut next = values.iter();
        for i in 0..read.0 {
            let is_there = levels.get(i).is_none_or(|level| *level == there);
            let value = match is_there {
                true => next.next().ok_or_else(|| "has no value where one is announced".to_owned()).and_then(&cell),
                false => Ok(None),
            };
            all.push(value.map_err(|e| (all.len(), e))?);
        }
        every.extend_from_slice(&levels);
    }
}

/// Refuses what a [`Cell`] cannot say.
fn check_type(leaf: &ColumnDescriptor) -> Result<(), String> {
    use ConvertedType as C;
    let (logical, converted) = (leaf.logical_type_ref(), leaf.converted_type());
    let plain = converted == C::NONE && logical.is_none();
    let good = match leaf.physical_type() {
        Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE => true,
        Physical::INT32 | Physical::INT64 => {
            let whole = [C::INT_8, C::INT_16, C::INT_32, C::INT_64, C::UINT_8, C::UINT_16, C::UINT_32, C::UINT_64];
            // A column of nothing but nulls is of the logical type `Unknown`.
            plain || whole.contains(&converted) || matches!(logical, Some(LogicalType::Unknown))
        }
        Physical::BYTE_ARRAY => plain || matches!(converted, C::UTF8 | C::ENUM | C::JSON),
        Physical::FIXED_LEN_BYTE_ARRAY => plain,
        Physical::INT96 => false,
    };
    if good {
        return Ok(());
    }
    let what = logical.map_or_else(|| format!("{converted}"), |logical| format!("{logical:?}"));
    Err(format!("holds values of the type {what}, which are not read; write them as texts or numbers"))
}
