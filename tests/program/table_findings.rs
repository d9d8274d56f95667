//! What is probably wrong with the columns and lines of a table is told by `check`, `data`, the report and `summary.json`.

use super::{Bench, succeeded, summary};

const NUMBERS: &str = r#"schema = 1
name = "numbers"

[datasets.d]
type = "table"
path = "d.csv"
numbers = ["a", "b"]
label = "y"
test = 0.3
MORE

[backbones.net]
type = "mlp"
widths = [4]

[steps.train]
type = "train"
dataset = "d"
backbone = "net"
strategy = "structure"
trainer = { epochs = 1, batch_size = 16 }
"#;

/// Checks that `check`, `data`, the report and the summary tell this of the data set `d`.
fn told(file: &str, table: &str, says: &[(&str, &str)]) {
    let bench = Bench::new(file);
    std::fs::write(bench.out("d.csv"), table).unwrap();
    let run = bench.run("out", &[]);
    let found = summary(&run)["findings"].clone();
    let check = succeeded(&bench.command_of("check", &[]).output().unwrap());
    let data = succeeded(&bench.command_of("data", &[]).output().unwrap());
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    for (kind, says) in says {
        let of_kind = found.as_array().unwrap().iter().find(|f| f["kind"] == *kind);
        let message = of_kind.unwrap_or_else(|| panic!("no {kind} in {found}"))["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
        for output in [&check, &data, &report] {
            assert!(output.contains(message), "{message}\n{output}");
        }
    }
    assert_eq!(found.as_array().unwrap().len(), says.len(), "{found}");
}

/// Rows of no meaning; `last` writes the columns after `a` and `b`.
fn rows(n: u32, last: impl Fn(u32) -> String) -> String {
    let number = |i: u32, by: u32| f64::from((i * by) % 997) / 997.0;
    (0..n).map(|i| format!("{},{},{}\n", number(i, 311), number(i, 417), last(i))).collect()
}

fn label(i: u32) -> &'static str {
    ["u", "v"][((i * 7919) % 5 % 2) as usize]
}

#[test]
fn rows_in_quotes_of_an_unread_column_are_told() {
    let note = |i: u32| if i % 40 == 20 { "\"open" } else { "plain" };
    let table = "a,b,note,y\n".to_owned() + &rows(120, |i| format!("{},{}", note(i), label(i)));
    // The quotes of rows 20 and 60 make one field of the lines between, and that of row 100 would be open.
    let table = table + "1.5,2.5,\"end,u\n";
    let says = "2 quoted fields go over 60 further lines that look like rows of `d.csv`, from line 22 on, and 61 rows were read";
    told(&NUMBERS.replace("MORE", ""), &table, &[("rows_in_quotes", says)]);
}

#[test]
fn times_in_milliseconds_are_told() {
    let time = |i: u32| 1_700_000_000_000_u64 + u64::from(i) * 60_000;
    let file = NUMBERS.replace("MORE", "").replace("[\"a\", \"b\"]", "[\"a\", \"t\"]");
    let table = "a,b,t,y\n".to_owned() + &rows(100, |i| format!("{},{}", time(i), label(i)));
    let bench = Bench::new(&file);
    std::fs::write(bench.out("d.csv"), table).unwrap();
    let check = succeeded(&bench.command_of("check", &[]).output().unwrap());
    assert!(check.contains("column `t`: its 100 different numbers become 46 in single precision"), "{check}");
}

#[test]
fn columns_that_say_the_label_are_told() {
    let file = NUMBERS.replace("MORE", "categories = [\"c\"]").replace("[\"a\", \"b\"]", "[\"a\", \"n\"]");
    let code = |i: u32| if label(i) == "u" { ("3", "yes") } else { ("8", "no") };
    let table = "a,b,n,c,y\n".to_owned() + &rows(80, |i| format!("{},{},{}", code(i).0, code(i).1, label(i)));
    let bench = Bench::new(&file);
    std::fs::write(bench.out("d.csv"), table).unwrap();
    let check = succeeded(&bench.command_of("check", &[]).output().unwrap());
    for column in ["n", "c"] {
        assert!(
            check.contains(&format!("warning: column `{column}` says the label: in all 80 labelled rows")),
            "{check}"
        );
    }
    assert!(!check.contains("column `a` says"), "{check}");
}

#[test]
fn levels_that_are_no_categories_are_told() {
    let more = "categories = [\"day\", \"size\", \"kind\"]\nmissing = [\"x\"]";
    let size = |i: u32| ["1", "1.0", "01", "2"][(i % 4) as usize];
    let kind = |i: u32| ["", "red", "blue"][(i % 3) as usize];
    let row = |i: u32| format!("2024-{:02}-{:02},{},{},{}", i / 28 + 1, i % 28 + 1, size(i), kind(i), label(i));
    let table = "a,b,day,size,kind,y\n".to_owned() + &rows(100, row);
    let says = [
        ("level_for_each_row", "column `day`: 100 levels in 100 rows"),
        ("similar_categories", "column `size`: `01` and `1` and `1.0` are one number"),
        ("missing_value_as_level", "column `kind`: `` is a level whose name usually means that the value is missing"),
    ];
    told(&NUMBERS.replace("MORE", more), &table, &says);
}
