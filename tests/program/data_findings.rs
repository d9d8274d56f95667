//! What is wrong with data is told in the same sentence by `check`, `run`, `data`, the report and `summary.json`, or refused.

use std::path::Path;

use image::RgbImage;

use super::{Bench, succeeded, summary, transplant};

const PICTURES: &str = r#"schema = 1
name = "pictures"

[datasets.d]
type = "image_folder"
folder = "pictures"
height = 8
width = 8
test = 0.25

[backbones.net]
type = "convnet"
widths = [4]

[steps.train]
type = "train"
dataset = "d"
backbone = "net"
strategy = "structure"
trainer = { epochs = 1, batch_size = 8, optimiser = { type = "sgd", lr = 0.05 } }
"#;

const TEXTS: &str = r#"schema = 1
name = "texts"

[datasets.d]
type = "text_table"
path = "t.csv"
text = ["text"]
label = "label"
test = 0.25

[steps.words]
type = "train"
dataset = "d"
backbone = "raw_text"
strategy = { type = "feature", head = "tfidf_logistic_regression" }
"#;

/// A folder with `n` pictures in each of these, no two alike.
fn pictures(file: &str, folders: &[&str], n: u32) -> Bench {
    let bench = Bench::new(file);
    for (f, folder) in (0..).zip(folders) {
        let folder = bench.out("pictures").join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for i in 0..n {
            let pixel = |x: u32, y: u32| image::Rgb([(f * 40) as u8, (i * 9 + x * 3) as u8, (x * y * (i + 1)) as u8]);
            RgbImage::from_fn(8, 8, pixel).save(folder.join(format!("{i:02}.png"))).unwrap();
        }
    }
    bench
}

/// A table of these labels, each beside some text of its own.
fn texts<L: std::fmt::Display>(file: &str, labels: impl IntoIterator<Item = L>) -> Bench {
    let bench = Bench::new(file);
    let words = ["good", "bad", "fine", "poor", "plain"];
    let rows = labels
        .into_iter()
        .enumerate()
        .map(|(i, label)| format!("row {i} is {} and {},{label}\n", words[i % 5], words[(i * 7 + i / 5) % 5]));
    std::fs::write(bench.out("t.csv"), "text,label\n".to_owned() + &rows.collect::<String>()).unwrap();
    bench
}

fn said(bench: &Bench, verb: &str) -> String {
    let mut c = transplant();
    c.current_dir(bench.dir.path()).args([verb, "pipeline.toml", "--out", "shown"]);
    succeeded(&c.output().unwrap())
}

/// Runs, and asks for these sentences wherever findings are shown. Returns the run folder.
fn told(bench: &Bench, sentences: &[&str]) -> std::path::PathBuf {
    let run = bench.command("out", &[]).output().unwrap();
    succeeded(&run);
    let read = |file: &str| std::fs::read_to_string(bench.out("out").join(file)).unwrap();
    let found: Vec<String> = summary(&bench.out("out"))["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["message"].as_str().unwrap().to_owned())
        .collect();
    let shown = [
        ("check", said(bench, "check")),
        ("data", said(bench, "data")),
        ("run", String::from_utf8_lossy(&run.stderr).into_owned()),
        ("report", read("report.md")),
        ("summary", found.join("\n")),
    ];
    for (place, text) in shown {
        for sentence in sentences {
            assert!(text.contains(sentence), "{place} does not say `{sentence}`:\n{text}");
        }
    }
    bench.out("out")
}

/// Is refused with all of this, and writes nothing.
fn refused(bench: &Bench, says: &[&str]) {
    let o = bench.command("out", &[]).output().unwrap();
    let message = String::from_utf8_lossy(&o.stderr).into_owned();
    assert_eq!(o.status.code(), Some(2), "{message}");
    says.iter().for_each(|s| assert!(message.contains(s), "`{s}` is not in:\n{message}"));
    assert!(!bench.out("out").exists());
}

#[test]
fn one_class_is_refused() {
    refused(&pictures(PICTURES, &["across"], 8), &["all 6 training rows are of one class, `across`"]);
    refused(&texts(TEXTS, [1; 12]), &["training rows are of one class, `1`"]);
    let nested = pictures(PICTURES, &["textures/across", "textures/upright"], 8);
    refused(&nested, &["all pictures are of one class, `textures`", "look like classes (`across`, `upright`)"]);
}

#[test]
fn similar_names_are_told_everywhere() {
    let bench = pictures(PICTURES, &["Across", "across", "across ", "upright"], 8);
    told(
        &bench,
        &["3 classes have names that differ in nothing but case, white space or Unicode form: `Across` (8 rows)"],
    );
}

#[test]
fn parts_in_capitals_are_parts() {
    let file = PICTURES.replace("test = 0.25\n", "");
    let bench = pictures(&file, &["Train/a", "Train/b", "Test/a", "Test/b"], 8);
    let run = bench.run("out", &[]);
    assert!(summary(&run)["steps"][0]["metrics"]["test"]["accuracy"].is_f64());
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains("| right ↓ said → | a | b |"), "{report}");
}

#[test]
fn a_missing_label_is_no_class() {
    let labels = (0..36).map(|i| ["a", "b", "nan"][i % 3]);
    let bench = texts(TEXTS, labels.clone());
    told(
        &bench,
        &[
            "`nan` (12 rows) is a class whose name usually means that the label is missing; if so, add \"nan\" to `missing`",
        ],
    );
    let mended = texts(&TEXTS.replace("label = \"label\"", "label = \"label\"\nmissing = [\"\", \"nan\"]"), labels);
    told(&mended, &["12 of 36 rows have no label"]);
}

#[test]
fn classes_without_training_rows_are_told() {
    let split = TEXTS.replace("test = 0.25", "split = \"part\"");
    let bench =
        texts(&split, (0..32).map(|i| ["a,train", "b,train", "a,test", "b,test"][i % 4]).chain(["new,test"; 4]));
    let table = std::fs::read_to_string(bench.out("t.csv")).unwrap().replacen("label", "label,part", 1);
    std::fs::write(bench.out("t.csv"), table).unwrap();
    told(&bench, &["1 of 3 classes has no training row: `new` (4 test or validation rows)"]);

    let grouped = TEXTS.replace("test = 0.25", "test = 0.5\ngroup = \"label\"");
    refused(
        &texts(&grouped, (0..24).map(|i| ["good", "bad"][i % 2])),
        &["are of one class", "no row of", "is trained on"],
    );
}

#[test]
fn a_test_part_may_lack_a_class() {
    let file = PICTURES.replace("test = 0.25\n", "");
    let bench = pictures(&file, &["train/a", "train/b", "train/c", "test/a", "test/b"], 6);
    told(&bench, &["1 of 3 classes has no test row: `c`; nothing is measured of them"]);
}

#[test]
fn numbers_and_single_rows_name_the_fault() {
    let says = "30 of 30 classes have one row";
    refused(&texts(TEXTS, (0..30).map(|i| format!("id{i}"))), &["datasets.d.test", says]);
    let says = "the labels of 60 rows are numbers, all different";
    refused(&texts(TEXTS, (0..60).map(|i| format!("{}.{i:02}", i % 7))), &["datasets.d.test", says, "regression"]);
}

#[test]
fn numbers_are_compared_as_written() {
    texts(TEXTS, (0..24).map(|i| format!("90000000000000000{}", i % 2))).run("out", &[]);
    let bench = texts(TEXTS, (0..40).map(|i| ["0", "1", "0.0", "1.0"][i % 4]));
    let run = told(&bench, &["`0.0` as `0`, `1.0` as `1`"]);
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains("| right ↓ said → | 0 | 1 |"), "{report}");
    let codes = |file: &str| texts(file, (0..40).map(|i| ["01", "1", "2", "3"][i % 4]));
    refused(&codes(TEXTS), &["`1` and `01` are one number, written in two ways; `classes` says what they are"]);
    for classes in [r#"["1", "2", "3"]"#, r#"["1", "01", "2", "3"]"#] {
        codes(&TEXTS.replace("label = \"label\"", &format!("label = \"label\"\nclasses = {classes}"))).run("out", &[]);
    }
}

#[test]
fn data_that_is_not_used_is_counted() {
    let bench = pictures(PICTURES, &["across", "upright"], 12);
    for i in 0..8 {
        let rename =
            |to: &str| std::fs::rename(bench.out(&format!("pictures/across/{i:02}.png")), bench.out(to)).unwrap();
        rename(&format!("pictures/across/{i:02}.{}", if i < 4 { "jfif" } else { "heic" }));
    }
    told(&bench, &["4 of 24 files in folders of classes are not read", "4 in `.heic`"]);

    let bag = TEXTS.replace("test = 0.25", "test = 0.25\ntransforms = [{ type = \"hash_words\", max_words = 6 }]");
    let bag = bag.split("[steps.words]").next().unwrap().to_owned()
        + "[steps.bag]\ntype = \"train\"\ndataset = \"d\"\nbackbone = \"word_bag\"\nstrategy = \"structure\"\n\
           trainer = { epochs = 1, batch_size = 16 }\n";
    let bench = texts(&bag, (0..24).map(|i| ["a", "b"][i % 2]));
    let long = std::fs::read_to_string(bench.out("t.csv")).unwrap().replacen("row 0", "row 0 one two three", 1);
    std::fs::write(bench.out("t.csv"), long).unwrap();
    told(&bench, &["1 of 24 texts is cut off after 6 words (the longest has 9); `max_words` sets the limit"]);
}

/// A bag of hashed words instead of TF-IDF.
fn bag(more: &str) -> String {
    let file = TEXTS.replace("test = 0.25", &format!("test = 0.25\n{more}\ntransforms = [\"hash_words\"]"));
    file.split("[steps.words]").next().unwrap().to_owned()
        + "[steps.bag]\ntype = \"train\"\ndataset = \"d\"\nbackbone = \"word_bag\"\nstrategy = \"structure\"\n\
           trainer = { epochs = 1, batch_size = 16 }\n"
}

#[test]
fn texts_without_words_are_told() {
    let bench = texts(&bag("id = \"id\""), (0..24).map(|i| ["a", "b"][i % 2]));
    let table = std::fs::read_to_string(bench.out("t.csv")).unwrap();
    let named = |(i, line): (usize, &str)| match i {
        0 => format!("id,{line}\n"),
        4 => "k3,\u{1f600} ?!,b\n".to_owned(),
        9 => "k8,\u{1f601},a\n".to_owned(),
        _ => format!("k{},{line}\n", i - 1),
    };
    std::fs::write(bench.out("t.csv"), table.lines().enumerate().map(named).collect::<String>()).unwrap();
    let run = told(
        &bench,
        &[
            "2 of 24 texts have no word that the network knows, and such texts are all the same to it: rows 3 (k3), 8 (k8)",
        ],
    );
    std::fs::write(bench.out("new.txt"), "row 3\n\u{1f600}\n!!\n").unwrap();
    let o = transplant().arg("predict").arg(&run).arg(bench.out("new.txt")).output().unwrap();
    assert_eq!(succeeded(&o).lines().count(), 4);
    let said = String::from_utf8_lossy(&o.stderr).into_owned();
    for line in [2, 3] {
        let note = format!("new.txt:{line}: has no word that the network knows: its answer is that of any such text");
        assert!(said.contains(&note), "{said}");
    }
    assert!(!said.contains("new.txt:1"), "{said}");
}

#[test]
fn texts_of_the_same_words_are_leaks() {
    // Long texts of many words, of which the second half has those of the first, written otherwise.
    let words = "amber basket candle dragon ember forest garden hammer island jungle kettle lantern"
        .split(' ')
        .collect::<Vec<_>>();
    let text =
        |i: usize| (0..9).map(|k| words[(i * (k + 2) + k * k) % 12]).collect::<Vec<_>>().join(" ") + &format!(" {i}x");
    let rows = (0..48).map(|i| match i < 24 {
        true => format!("{},{},train\n", text(i), ["a", "b"][i % 2]),
        false => format!("{}!!,{},test\n", text(i - 24).to_uppercase(), ["a", "b"][i % 2]),
    });
    let table = "text,label,part\n".to_owned() + &rows.collect::<String>();
    let split = |file: String| file.replace("test = 0.25", "split = \"part\"");
    let says = "24 of the 24 test rows of `d` are other texts than training or validation rows, and give the network the same words \
                (row 24 those of row 0), more than chance explains";
    for file in [split(bag("")), split(TEXTS.to_owned())] {
        let bench = Bench::new(&file);
        std::fs::write(bench.out("t.csv"), &table).unwrap();
        let data = said(&bench, "data");
        assert!(data.contains(&format!("LEAK: {says}")), "{data}");
        assert!(
            data.contains("24 test rows are other texts than train rows, and give the network the same words: 24 ("),
            "{data}"
        );
        assert!(said(&bench, "check").contains(says));
        let o = bench.command("out", &[]).output().unwrap();
        succeeded(&o);
        assert!(String::from_utf8_lossy(&o.stderr).contains(says), "{o:?}");
    }
    // Other labels make them no copies; nor do words that everybody writes.
    let bench = Bench::new(&split(bag("")));
    let other = table.lines().enumerate().map(|(i, l)| if i > 24 { l.replace(",a,", ",c,").replace(",b,", ",a,").replace(",c,", ",b,") } else { l.to_owned() } + "\n");
    std::fs::write(bench.out("t.csv"), other.collect::<String>()).unwrap();
    assert!(!said(&bench, "data").contains("LEAK"));
    let short = (0..48).map(|i| {
        format!(
            "{},{},{}\n",
            ["Good", "good!", "GOOD.", "bad", "Bad", "bad?"][i % 6],
            ["a", "b"][usize::from(i % 6 > 2)],
            ["train", "test"][i % 4 / 3]
        )
    });
    std::fs::write(bench.out("t.csv"), "text,label,part\n".to_owned() + &short.collect::<String>()).unwrap();
    assert!(!said(&bench, "data").contains("LEAK"));
}

#[test]
fn names_that_are_probably_one_are_told() {
    let file = TEXTS.replace("test = 0.25", "test = 0.25\ngroup = \"who\"\nid = \"id\"");
    let bench = texts(&file, (0..24).map(|i| ["a", "b"][i % 2]));
    let table = std::fs::read_to_string(bench.out("t.csv")).unwrap();
    let named = |(i, line): (usize, &str)| match i {
        0 => format!("who,id,{line}\n"),
        _ => format!("{},k{},{line}\n", ["Ann", "ann ", "Bob", "Cid"][i % 4], i.max(3)),
    };
    std::fs::write(bench.out("t.csv"), table.lines().enumerate().map(named).collect::<String>()).unwrap();
    told(
        &bench,
        &[
            "2 groups have names that differ in nothing but case, white space or Unicode form: `ann ` (6 rows), `Ann` (6 rows); they may \
             stand on two sides of a split",
            "3 of 24 rows have a name in column `id` that another row has, too: `k3` (line 2, line 3, line 4)",
        ],
    );
}

#[test]
fn a_validation_part_stands_instead_of_a_share() {
    let file = PICTURES.replace("test = 0.25", "validation = 0.3");
    let bench = pictures(&file, &["train/a", "train/b", "validation/a", "validation/b", "test/a", "test/b"], 6);
    let says =
        ["datasets.d.validation", "the data set has a validation part of its own, of 12 rows", "leave this key out"];
    refused(&bench, &says);
    // With a budget the labels of that part are not used.
    bench.run("out", &["--set", "datasets.d.labels_per_class=5"]);
}

#[test]
fn pixels_and_weights_on_another_scale_are_refused() {
    let line = "transforms = [{ type = \"normalise\", mean = [123.7, 116.3, 103.5], std = [58.4, 57.1, 57.4] }]";
    let bench = pictures(&PICTURES.replace("test = 0.25", &format!("test = 0.25\n{line}")), &["a", "b"], 8);
    refused(
        &bench,
        &["datasets.d.transforms.0.mean", "123.7 is on the scale of 0 to 255", "mean = [0.485098, 0.456078, 0.405882]"],
    );
    let zeros = format!("{PICTURES}\n[tasks.class]\ntype = \"classification\"\nclass_weights = [0.0, 0.0]\n");
    refused(&pictures(&zeros, &["a", "b"], 8), &["tasks.class.class_weights.0", "above 0"]);
}

#[test]
fn what_helps_with_cells_is_named() {
    let numbers = "schema = 1\nname = \"n\"\n[datasets.d]\ntype = \"table\"\npath = \"t.csv\"\nnumbers = [\"a\"]\nlabel = \"y\"\n\
                   test = 0.25\n[steps.net]\ntype = \"train\"\ndataset = \"d\"\nbackbone = \"mlp\"\nstrategy = \"structure\"\n";
    let bench = Bench::new(numbers);
    std::fs::write(bench.out("t.csv"), "a,y\n1,u\nNaN,v\n").unwrap();
    refused(
        &bench,
        &["line 3: column `a`: `NaN` is no number", "add \"NaN\" to `missing`, and `fill` says what stands for"],
    );
    let bench = texts(TEXTS, [1; 12]);
    std::fs::write(bench.out("t.csv"), b"text,label\nok,1\ncaf\xe9,2\n").unwrap();
    refused(&bench, &["t.csv: line 3: is not UTF-8", "iconv -f WINDOWS-1252 -t UTF-8"]);
}

#[test]
fn contradicting_rows_are_told() {
    let bench = pictures(PICTURES, &["across", "upright"], 8);
    for i in 0..8 {
        let copy = |from: String, to: String| std::fs::copy(bench.out(&from), bench.out(&to)).unwrap();
        copy(format!("pictures/across/{i:02}.png"), format!("pictures/upright/copy{i}.png"));
    }
    told(&bench, &["16 rows equal another one that has a different label", "across/00.png is `across`"]);
}

#[test]
fn the_positive_class_is_named() {
    let file = format!("{PICTURES}metrics = [\"average_precision\"]\n");
    let report = |bench: &Bench| std::fs::read_to_string(bench.run("out", &[]).join("report.md")).unwrap();
    let found = report(&pictures(&file, &["defect", "ok"], 12));
    assert!(found.contains("average_precision of `ok`"), "{found}");
    let ordered = file.replace("height = 8", "classes = [\"ok\", \"defect\"]\nheight = 8");
    let found = report(&pictures(&ordered, &["defect", "ok"], 12));
    assert!(found.contains("average_precision of `defect`"), "{found}");
    let chosen = file.replace("[\"average_precision\"]", "[{ type = \"average_precision\", positive = \"defect\" }]");
    let found = report(&pictures(&chosen, &["defect", "ok"], 12));
    assert!(found.contains("average_precision_defect"), "{found}");
}

#[cfg(unix)]
#[test]
fn odd_names_leave_tables_whole() {
    let bench = pictures(PICTURES, &["a,b \"quoted\"", "pipe|name", "ünï 日本 👍"], 8);
    let run = bench.run("out", &[]);
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    let lines: Vec<&str> =
        report.lines().skip_while(|l| !l.starts_with("| right ↓")).take_while(|l| l.starts_with('|')).collect();
    assert_eq!(lines.len(), 5, "{report}");
    assert!(lines[0].contains(r"pipe\|name"), "{report}");
    let columns = |l: &&str| l.replace(r"\|", "").matches('|').count();
    assert!(lines.iter().all(|l| columns(l) == 5), "{report}");
    assert!(Path::new(&run).join("predictions.csv").is_file());
}

const NUMBERS: &str = r#"schema = 1
name = "numbers"

[datasets.d]
type = "table"
path = "t.csv"
numbers = ["a", "b", "empty"]
categories = ["c"]
fill = "mean"
label = "y"
test = 0.25

[steps.train]
type = "train"
dataset = "d"
backbone = "mlp"
strategy = "structure"
trainer = { epochs = 1 }
"#;

#[test]
fn columns_of_a_table_are_judged() {
    let bench = Bench::new(NUMBERS);
    let row = |i: usize| format!("{},{},,{},{}\n", i * 1000, i % 3, ["x", "x ", "z"][i % 3], ["u", "v"][i % 2]);
    std::fs::write(bench.out("t.csv"), "a,b,empty,c,y\n".to_owned() + &(1..60).map(row).collect::<String>()).unwrap();
    told(
        &bench,
        &[
            "column `c`: `x` and `x ` differ in white space or case alone, and each is a level of its own",
            "column `empty`: no row that is learned from has a number, and 0 stands for each",
            "column `a` reaches ",
        ],
    );
}

#[test]
fn dark_pictures_are_told() {
    let bench = pictures(PICTURES, &["across", "upright"], 8);
    for i in 0..8u16 {
        let pixel = |x: u32, y: u32| image::Luma([(u32::from(i) * 256 + x * 16 + y) as u16]);
        let picture = image::ImageBuffer::<image::Luma<u16>, Vec<u16>>::from_fn(8, 8, pixel);
        picture.save(bench.out(&format!("pictures/across/{i:02}.png"))).unwrap();
    }
    told(&bench, &["8 pictures have 16 bits a value, and the largest value is 1911, 2.9 % of 65535"]);
}

#[test]
fn hidden_pictures_are_told() {
    let bench = pictures(PICTURES, &["across", "upright"], 8);
    std::fs::rename(bench.out("pictures/across/00.png"), bench.out("pictures/across/.00.png")).unwrap();
    std::fs::write(bench.out("pictures/across/._01.png"), "").unwrap();
    told(&bench, &["1 picture in folders of classes is hidden, and not read"]);
}

/// A step whose head is fitted at once, beside options of training.
const AT_ONCE: &str = r#"
[steps.probe]
type = "train"
dataset = "d"
from = "train"
strategy = { type = "feature", head = "knn" }
trainer = { epochs = 7, policies = ["best_checkpoint", { type = "early_stopping", patience_epochs = 2 }] }
"#;

#[test]
fn options_without_effect_are_told() {
    let file = PICTURES.replace("test = 0.25", "test = 0.25\nvalidation = 0.25") + AT_ONCE;
    let says = "`trainer.epochs`, `trainer.policies` have no effect: the head is fitted at once";
    let bench = pictures(&file, &["across", "upright"], 16);
    let run = told(&bench, &[says]);
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    let selection = "| selection | none by validation rows: the head is fitted at once, to training rows alone, although 6 of the \
                     labels are a validation part |";
    assert!(report.contains(selection), "{report}");
    // A policy that chooses nothing needs no validation part.
    pictures(&(PICTURES.to_owned() + AT_ONCE), &["across", "upright"], 16).run("out", &[]);

    // Beside a strategy that trains, the options have an effect.
    let both = PICTURES.to_owned()
        + &AT_ONCE.replace("strategy = { type = \"feature\", head = \"knn\" }\n", "").replace("7", "2")
        + "[steps.probe.sweep]\nstrategy = [{ type = \"feature\", head = \"knn\" }, \"parameter\"]\n";
    let both = both.replace("test = 0.25", "test = 0.25\nvalidation = 0.25");
    let bench = pictures(&both, &["across", "upright"], 16);
    let run = bench.run("out", &[]);
    assert_eq!(summary(&run)["findings"].as_array().unwrap().len(), 0);
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains("parameter: best_checkpoint, early_stopping on 6 validation rows"), "{report}");
    assert!(report.contains("feature: none by validation rows"), "{report}");
}

#[test]
fn few_groups_are_told() {
    let file = TEXTS.replace("label = \"label\"", "label = \"label\"\ngroup = \"who\"").replace("0.25", "0.5");
    let report = |groups: usize| {
        let bench = texts(&file, (0..48).map(|i| format!("{},{}", ["a", "b"][i % 2], i / 2 % groups)));
        let table = std::fs::read_to_string(bench.out("t.csv")).unwrap().replacen("label", "label,who", 1);
        std::fs::write(bench.out("t.csv"), table).unwrap();
        let run = bench.run("out", &[]);
        let line = summary(&run)["comparison"][0].clone();
        (std::fs::read_to_string(run.join("report.md")).unwrap(), line)
    };
    let (text, line) = report(4);
    assert_eq!((&line["groups"], &line["rows"]), (&2.into(), &24.into()));
    assert!(line["ci95"][0].is_null() && line["ci95"][1].is_null(), "{line}");
    assert!(
        text.contains("no interval over 2 test groups") && text.contains("fewer than 5 groups or rows have none"),
        "{text}"
    );
    let (text, line) = report(12);
    assert!(line["ci95"][0].is_f64() && line["groups"] == 6, "{line}");
    assert!(text.contains("interval over 6 test groups alone") && text.contains("not to be trusted"), "{text}");
}

#[test]
fn rows_without_groups_stand_alone() {
    let bench = texts(&TEXTS.replace("0.25", "0.01"), ["a", "b", "a", "b"]);
    refused(
        &bench,
        &["datasets.d.test", "leaves nothing to test on: all there is to divide is 4 rows, each of which stands alone"],
    );
}
