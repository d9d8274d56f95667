//! Wrong files are met at the door, and each error names its place.

use super::tests::{open_over, open_text};
use super::*;

const FILE: &str = r#"schema = 1
name = "x"
[datasets.d]
type = "mnist_5k"
[backbones.b]
type = "convnet"
[tasks.k]
type = "classification"
[strategies.gentle]
type = "parameter"
[steps.one]
type = "train"
dataset = "d"
backbone = "b"
strategy = "structure"
[steps.two]
type = "train"
dataset = "d"
from = "one"
strategy = "parameter"
"#;

fn shown(text: &str, set: &[&str]) -> String {
    let error = open_text(text, set).expect_err(text).to_string();
    error.split_once("p.toml").map_or(error.clone(), |(_, rest)| format!("p.toml{rest}"))
}

/// The error after `old` was replaced by `new`, which must start with `start` and contain `part`.
fn wrong(old: &str, new: &str, start: &str, part: &str) {
    assert!(FILE.contains(old), "{old}");
    let error = shown(&FILE.replacen(old, new, 1), &[]);
    assert!(error.starts_with(start) && error.contains(part), "{new}\n  {error}\n  {start} … {part}");
}

#[test]
fn unknown_keys_at_every_level() {
    wrong("name =", "nam =", "p.toml:2:1: nam: unknown key", "(did you mean `name`?)");
    wrong("[tasks.k]", "[task.k]", "p.toml:7:2: task: unknown key", "`tasks`");
    wrong(
        "[datasets.d]",
        "[datasets.d]\nlabel_per_class = 2",
        "p.toml:4:1: datasets.d.label_per_class: ",
        "`labels_per_class`",
    );
    wrong("[backbones.b]", "[backbones.b]\nwdth = 2", "p.toml:6:1: backbones.b.wdth: unknown key", "`width`");
    wrong("[strategies.gentle]", "[strategies.gentle]\ndekay = 2", "p.toml:10:1: strategies.gentle.dekay: ", "`decay`");
    wrong("from =", "frm =", "p.toml:19:1: steps.two.frm: unknown key", "`from`");
    wrong(
        "from =",
        "trainer = { epoch = 1 }\nfrom =",
        "p.toml:19:13: steps.two.trainer.epoch: unknown key",
        "`epochs`",
    );
    let lr = "trainer.optimiser = { type = \"sgd\", l_r = 1 }\nfrom =";
    wrong("from =", lr, "p.toml:19:37: steps.two.trainer.optimiser.l_r: unknown key", "there are: lr");
    let metrics = "metrics = [\"f1\", { type = \"top_k\", kk = 1 }]\nfrom =";
    wrong("from =", metrics, "p.toml:19:36: steps.two.metrics.1.kk: unknown key", "`k`");
    let policies = "[[steps.two.trainer.policies]]\ntype = \"early_stopping\"\npatienc = 2\n";
    let error = shown(&format!("{FILE}{policies}"), &[]);
    assert!(error.starts_with("p.toml:23:1: steps.two.trainer.policies.0.patienc: unknown key"), "{error}");
}

#[test]
fn unknown_tags_and_names() {
    wrong("mnist_5k", "mnist5k", "p.toml:4:8: datasets.d: there is no dataset `mnist5k`", "`mnist_5k`");
    wrong(
        "\"d\"\nbackbone",
        "\"e\"\nbackbone",
        "p.toml:13:11: steps.one.dataset: there is no dataset `e`",
        "there are: d",
    );
    wrong(
        "backbone = \"b\"",
        "backbone = \"bb\"",
        "p.toml:14:12: steps.one.backbone: there is no backbone `bb`",
        "`b`",
    );
    wrong(
        "\"parameter\"\n[steps",
        "\"para\"\n[steps",
        "p.toml:10:8: strategies.gentle: there is no strategy `para`",
        "`parameter`",
    );
    let strategy = "strategy = [\"structure\", \"gentel\"]\n[steps.two]";
    wrong(
        "strategy = \"structure\"\n[steps.two]",
        strategy,
        "p.toml:15:26: steps.one.strategy.1: ",
        "(did you mean `gentle`?)",
    );
    let error = shown(
        &FILE.replace("from = \"one\"\nstrategy = \"parameter\"", "from = \"one\"\nstrategy = \"paramter\""),
        &[],
    );
    assert_eq!(error, "p.toml:20:12: steps.two.strategy: there is no strategy `paramter` (did you mean `parameter`?)");
    wrong("from = \"one\"", "from = \"on\"", "p.toml:19:8: steps.two.from: there is no step `on`", "`one`");
    wrong("from =", "tasks = [\"k\", \"m\"]\nfrom =", "p.toml:19:15: steps.two.tasks.1: there is no task `m`", "k");
    wrong(
        "type = \"train\"",
        "type = \"trian\"",
        "p.toml:12:8: steps.one.type: there is no step of type `trian`",
        "`train`",
    );
    wrong("schema = 1", "schema = 1\ndevice = \"gpu\"", "p.toml:2:10: device: there is no device `gpu`", "cpu");
    let error = shown(FILE, &["strategies.f={type=\"feature\",head=\"linea\"}"]);
    assert!(error.starts_with("--set strategies.f={type=\"feature\",head=\"linea\"}: strategies.f.head: "), "{error}");
}

#[test]
fn wrong_types_and_values() {
    wrong("name = \"x\"", "name = 3", "p.toml:2:8: name: invalid type: integer `3`", "expected a string");
    wrong("name = \"x\"", "name = \"a/b\"", "p.toml:2:8: name: `a/b` does not suit", "folder");
    wrong("[steps.two]", "[steps.\"../two\"]", "p.toml:16:1: steps.../two: `../two` does not suit", "folder");
    wrong("[tasks.k]", "[tasks.\"k.l\"]", "p.toml:7:1: tasks.k.l: `k.l` does not suit", "folder");
    wrong(
        "schema = 1",
        "schema = 1\nseed = -1",
        "p.toml:2:8: seed: invalid value: integer `-1`",
        "a whole number from 0",
    );
    wrong("schema = 1", "schema = 2", "p.toml:1:10: schema: is 2, but this program reads version 1", "");
    wrong("schema = 1", "schema = \"1\"", "p.toml:1:10: schema: invalid type", "");
    wrong(
        "[datasets.d]",
        "[datasets.d]\nlabels_per_class = 0",
        "p.toml:4:20: datasets.d.labels_per_class: must be at least 1",
        "",
    );
    wrong(
        "[datasets.d]",
        "[datasets.d]\nlabels_per_class = 2\nlabels_in_all = 9",
        "p.toml:5:17: datasets.d.labels_in_all: says how many labels are used",
        "leave one of them out",
    );
    for validation in ["1.0", "-0.1", "1"] {
        let line = format!("[datasets.d]\nvalidation = {validation}");
        wrong("[datasets.d]", &line, "p.toml:4:14: datasets.d.validation: must be from 0 to below 1", "");
    }
    wrong("[datasets.d]", "[datasets.d]\nvalidation = nan", "p.toml:4:14: datasets.d.validation: must be a finite", "");
    wrong("[backbones.b]", "[backbones.b]\nwidth = 0", "p.toml:6:9: backbones.b.width: must be at least 1", "");
    wrong(
        "[backbones.b]",
        "[backbones.b]\nwidth = 1.5",
        "p.toml:6:9: backbones.b.width: invalid type",
        "a whole number",
    );
    wrong(
        "from =",
        "trainer = { epochs = 0 }\nfrom =",
        "p.toml:19:22: steps.two.trainer.epochs: must be at least 1",
        "",
    );
    wrong(
        "from =",
        "trainer.clip_norm = 0.0\nfrom =",
        "p.toml:19:21: steps.two.trainer.clip_norm: must be above 0",
        "",
    );
    wrong(
        "from =",
        "trainer = 3\nfrom =",
        "p.toml:19:11: steps.two.trainer: invalid type: integer `3`, expected a table",
        "",
    );
    wrong("from =", "draw = \"0\"\nfrom =", "p.toml:19:8: steps.two.draw: invalid type", "a whole number");
    wrong("from =", "tasks = []\nfrom =", "p.toml:19:9: steps.two.tasks: must not be empty", "");
    wrong("from = \"one\"", "from = [\"one\"]", "p.toml:19:8: steps.two.from: invalid type", "a name of a step");
    wrong("strategy = \"parameter\"", "strategy = []", "p.toml:20:12: steps.two.strategy: must not be empty", "");
    wrong(
        "strategy = \"parameter\"",
        "strategy = { decay = 1 }",
        "p.toml:20:12: steps.two.strategy: missing key `type`",
        "",
    );
    let metrics = "metrics = [{ type = \"f1\", average = \"mikro\" }]\nfrom =";
    wrong("from =", metrics, "p.toml:19:37: steps.two.metrics.0.average: there is no `mikro` here", "`micro`");
    wrong(
        "from =",
        "metrics = [\"f1\", \"top\"]\nfrom =",
        "p.toml:19:18: steps.two.metrics.1: there is no metric",
        "`top_k`",
    );
}

#[test]
fn what_is_missing() {
    wrong("schema = 1\n", "", "p.toml:1:1: missing key `schema`", "");
    wrong("name = \"x\"\n", "", "p.toml:1:1: missing key `name`", "");
    wrong("type = \"mnist_5k\"\n", "", "p.toml:3:1: datasets.d: missing key `type`", "");
    wrong("type = \"mnist_5k\"\n", "type = \"folder\"\n", "p.toml:3:1: datasets.d: missing key `path`", "");
    wrong("dataset = \"d\"\n", "", "p.toml:11:1: steps.one: missing key `dataset`", "");
    wrong("strategy = \"structure\"\n", "", "p.toml:11:1: steps.one: missing key `strategy`", "");
    wrong("backbone = \"b\"\n", "", "p.toml:11:1: steps.one: missing key `backbone`", "`from`");
    let steps = FILE.find("[steps.one]").unwrap();
    assert!(shown(&FILE[..steps], &[]).starts_with("p.toml:1:1: missing key `steps`"));
    assert!(shown(&format!("{}[steps]", &FILE[..steps]), &[]).starts_with("p.toml:11:1: steps: must not be empty"));
}

#[test]
fn circles_are_named() {
    wrong(
        "backbone = \"b\"",
        "from = \"two\"",
        "p.toml:19:8: steps.two.from: steps start from each other in a circle: one -> two -> one",
        "",
    );
    wrong("from = \"one\"", "from = \"two\"", "p.toml:19:8: steps.two.from: steps start", "circle: two -> two");
}

#[test]
fn sweeps() {
    let sweep = |lines: &str, start: &str, part: &str| {
        let error = shown(&format!("{FILE}[steps.two.sweep]\n{lines}"), &[]);
        assert!(error.starts_with(start) && error.contains(part), "{lines}\n  {error}\n  {start} … {part}");
    };
    sweep("draw = []", "p.toml:22:8: steps.two.sweep.draw: must not be empty", "");
    sweep("draw = 3", "p.toml:22:8: steps.two.sweep.draw: must be a list of values", "");
    sweep("drw = [1]", "p.toml:22:1: steps.two.sweep.drw: unknown key", "`draw`");
    sweep("\"trainer.epoch\" = [1]", "p.toml:22:1: steps.two.sweep.trainer.epoch: unknown key", "`epochs`");
    sweep("trainr.epochs = [1]", "p.toml:22:8: steps.two.sweep.trainr.epochs: unknown key", "`trainer`");
    sweep("trainer.epochs = [1, 0]", "p.toml:22:22: steps.two.sweep.trainer.epochs.1: must be at least 1", "");
    sweep("draw = [0, -1]", "p.toml:22:12: steps.two.sweep.draw.1: invalid value", "");
    sweep("draw = [0, 0]", "p.toml:22:12: steps.two.sweep.draw.1: stands in this list twice", "");
    sweep("seed = [0, -1]", "p.toml:22:12: steps.two.sweep.seed.1: must be a whole number from 0", "");
    sweep("from = [\"one\"]", "p.toml:22:8: steps.two.sweep.from: cannot be swept", "");
    sweep("strategy = [\"feature\", \"featur\"]", "p.toml:22:24: steps.two.sweep.strategy.1: there is no", "`feature`");
    sweep(
        "strategy = [[\"feature\", \"featur\"]]",
        "p.toml:22:25: steps.two.sweep.strategy.0.1: there is no",
        "`feature`",
    );
    sweep("strategy = [{ type = \"parameter\", x = 1 }]", "p.toml:22:35: steps.two.sweep.strategy.0.x: unknown", "");
    let same = "strategy = [\"parameter\", { type = \"parameter\", decay = 1 }]";
    sweep(same, "p.toml:22:26: steps.two.sweep.strategy.1: means the same as number 0", "");
    sweep("dataset.x = [1]", "p.toml:22:13: steps.two.sweep.dataset.x: ", "invalid type");
    sweep("draw.x = [1]", "p.toml:22:10: steps.two.sweep.draw.x: ", "invalid type: a table");
    sweep("strategy = [\"feature\"]\n\"strategy.head\" = [\"linear\"]", "p.toml:23:19: ", "together with `strategy`");
    let draw: Vec<String> = (0..10_001).map(|i| i.to_string()).collect();
    sweep(&format!("draw = [{}]", draw.join(",")), "p.toml:21:1: steps.two.sweep: makes more than", "");
    let error = shown(&FILE.replace("backbone = \"b\"", "backbone = \"b\"\nsweep.draw = [0]"), &[]);
    assert!(error.starts_with("p.toml:15:14: steps.one.sweep.draw: only `seed` can be swept here"), "{error}");
    wrong("from =", "sweep = 3\nfrom =", "p.toml:19:9: steps.two.sweep: must be a table", "");
}

#[test]
fn errors_from_flags_and_variables_name_them() {
    let set = |text: &str, expected: &str| assert_eq!(shown(FILE, &[text]), expected);
    set(
        "steps.two.strategy=paramter",
        "--set steps.two.strategy=paramter: there is no strategy `paramter` (did you mean `parameter`?)",
    );
    set("steps.two.draw=-1", "--set steps.two.draw=-1: invalid value: integer `-1`, expected a whole number from 0");
    set("steps.two.drw=1", "--set steps.two.drw=1: unknown key (did you mean `draw`?)");
    set(
        "steps.three.draw=1",
        "--set steps.three.draw=1: steps.three: there is no step `three` (there are: one, two; a new one needs a type: set `steps.three.type`, too)",
    );
    set(
        "datasets.dd.validation=0.1",
        "--set datasets.dd.validation=0.1: datasets.dd: there is no data set `dd` (did you mean `d`?; a new one needs a type: set `datasets.dd.type`, too)",
    );
    set(
        "datasets.dd.type=mnist_5k",
        "--set datasets.dd.type=mnist_5k: datasets.dd: is new, and no step uses it (did you mean `d`?)",
    );
    set(
        "strategies.other.type=feature",
        "--set strategies.other.type=feature: strategies.other: is new, and no step uses it (name this strategy in a step)",
    );
    let used = ["datasets.dd.type=mnist_5k", "steps.two.dataset=dd"];
    assert!(open_text(FILE, &used).is_ok());
    let o = Overrides { env: true, device: Some("gpu".into()), ..Overrides::default() };
    let error = open_over(FILE, &o, &[]).unwrap_err().to_string();
    assert!(error.starts_with("--device gpu: device: there is no device `gpu`"), "{error}");
    let o = Overrides { env: true, seed: Some(u64::MAX), ..Overrides::default() };
    assert_eq!(
        open_over(FILE, &o, &[]).unwrap_err().to_string(),
        format!("--seed {}: seed: must be below 2^63", u64::MAX)
    );
    // What a sweep leaves no room for is not dropped in silence.
    let swept = format!("{FILE}sweep = {{ seed = [1, 2], strategy = [\"parameter\", \"feature\"] }}\n");
    let o = Overrides { env: true, seed: Some(1), ..Overrides::default() };
    let error = open_over(&swept, &o, &[]).unwrap_err().to_string();
    assert!(error.starts_with("--seed 1: seed: no step would run under it"), "{error}");
    assert!(error.contains("`steps.two.sweep.seed`"), "{error}");
    let error = shown(&swept, &["steps.two.strategy=gentle"]);
    assert!(error.starts_with("--set steps.two.strategy=gentle: would never be used"), "{error}");
    assert!(open_text(&swept, &["steps.two.sweep.strategy=[\"gentle\"]", "steps.two.draw=1"]).is_ok());
    // A table takes the place of the one below: no sweep is one that is taken away.
    assert_eq!(open_text(&swept, &["steps.two.sweep={}"]).unwrap().cells.len(), 2);
    assert_eq!(open_text(&swept, &["steps.two.sweep={seed=[4]}"]).unwrap().cells.len(), 2);
    let o = Overrides { env: true, ..Overrides::default() };
    let variable = |name: &str, value: &str, expected: &str| {
        let error = open_over(FILE, &o, &[(name, value)]).unwrap_err().to_string();
        assert_eq!(error, format!("environment variable {name}: {expected}"));
    };
    let name = "TRANSPLANT_STEPS__TWO__TRAINER__EPOCHS";
    variable(name, "0", "steps.two.trainer.epochs: must be at least 1");
    variable(
        name,
        "[",
        "steps.two.trainer.epochs: is not a TOML value: unclosed array, expected `]` (words inside stand in quotes)",
    );
    variable("TRANSPLANT_STEP__TWO", "1", "step: unknown key (did you mean `steps`?)");
}
