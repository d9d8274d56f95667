//! `--help`, `list`, `explain` and `schema` answer without a file.

use super::{succeeded, transplant};

#[test]
fn the_catalogue_can_be_read_from_the_command_line() {
    let said = |args: &[&str]| succeeded(&transplant().args(args).output().unwrap());
    for verb in ["run", "check", "list", "explain", "schema", "predict", "evaluate", "cache"] {
        assert!(said(&["--help"]).contains(verb), "{verb}");
    }
    assert!(said(&["list"]).contains("parameter") && said(&["list", "dataset"]).contains("optdigits"));
    let explained = said(&["explain", "strategy.parameter"]);
    assert!(explained.contains("freeze_until") && explained.contains("lr_decay"), "{explained}");
    let schema: serde_json::Value = serde_json::from_str(&said(&["schema"])).unwrap();
    assert!(schema["properties"]["steps"].is_object());
    let wrong = transplant().args(["explain", "strategy.paramter"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`strategy.parameter`"));
}
