//! What a run leaves behind, and what `predict` and `evaluate` make of it.

use std::process::Command;

use super::{Bench, SMALL, succeeded, summary, transplant};

#[test]
fn a_run_leaves_its_folder_and_the_artefact_can_be_used() {
    let bench = Bench::new(SMALL);
    let run = bench.run("out", &[]);
    for file in
        ["pipeline.toml", "lock.json", "events.jsonl", "summary.json", "ledger.md", "predictions.csv", "report.md"]
    {
        assert!(run.join(file).is_file(), "{file}");
    }
    let summary = summary(&run);
    assert_eq!((&summary["schema"], &summary["status"]), (&2.into(), &"finished".into()));
    let steps = summary["steps"].as_array().unwrap();
    let transfer = steps.iter().find(|s| s["name"] == "transfer").unwrap();
    assert_eq!(transfer["strategy"], "parameter");
    assert!(transfer["trainable_parameters"].as_u64().unwrap() > 0);
    let accuracy = transfer["metrics"]["test"]["accuracy"].as_f64().unwrap();
    let comparison = &summary["comparison"][0];
    assert_eq!((comparison["metric"].as_str(), comparison["split"].as_str()), (Some("accuracy"), Some("test")));
    assert!((comparison["mean"].as_f64().unwrap() - accuracy).abs() < 1e-9);

    // Anyone can compute the metric again from the predictions.
    let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = |name: &str| header.iter().position(|h| *h == name).unwrap_or_else(|| panic!("{name} in {header:?}"));
    let first_score = header.len() - 10;
    let (mut right, mut rows) = (0, 0);
    for cells in lines.map(|l| l.split(',').collect::<Vec<_>>()) {
        if !cells[at("cell")].starts_with("transfer") || cells[at("split")] != "test" {
            continue;
        }
        let scores: Vec<f64> = cells[first_score..].iter().map(|s| s.parse().unwrap()).collect();
        let best = (0..10).max_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a))).unwrap();
        right += usize::from(cells[at("label")] == best.to_string());
        rows += 1;
    }
    assert!(rows > 800);
    assert!((right as f64 / rows as f64 - accuracy).abs() < 1e-9, "{right} of {rows} against {accuracy}");

    succeeded(&transplant().arg("evaluate").arg(&run).output().unwrap());
    let picture = bench.out("digit.pgm");
    let pixels: String = (0..28 * 28).map(|i| if (12..16).contains(&(i % 28)) { "255 " } else { "0 " }).collect();
    std::fs::write(&picture, format!("P2 28 28 255\n{pixels}\n")).unwrap();
    let said = succeeded(&transplant().arg("predict").arg(&run).arg(&picture).output().unwrap());
    assert!(said.contains("digit.pgm"), "{said}");

    // A run that is asked for again finds its cells finished.
    let again = bench.command("out", &[]).output().unwrap();
    succeeded(&again);
    let events = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    assert!(events.contains("cell_reused"));
}

#[test]
fn a_strategy_is_swapped_by_one_word() {
    let bench = Bench::new(&SMALL.replace("strategy = \"parameter\"", "strategy = \"feature\""));
    let summary = summary(&bench.run("out", &[]));
    assert!(summary["steps"].as_array().unwrap().iter().any(|s| s["strategy"] == "feature"));
}

#[test]
fn a_changed_artefact_is_noticed() {
    let bench = Bench::new(SMALL);
    let run = bench.run("out", &[]);
    let find = Command::new("find").arg(&run).args(["-path", "*transfer*model.safetensors"]).output().unwrap();
    let path = String::from_utf8(find.stdout).unwrap().trim().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();
    let o = transplant().arg("evaluate").arg(&run).output().unwrap();
    assert!(!o.status.success(), "{}", String::from_utf8_lossy(&o.stdout));
}

#[test]
fn every_strategy_runs_and_its_artefact_is_evaluated_again() {
    let sweep = "\n[steps.transfer.sweep]\nstrategy = [\"parameter\", \"feature\", \"structure\", \"lora\", [\"lora\", \"l2_sp\"], \
                 { type = \"lora\", merge = true }, { type = \"feature\", head = \"knn\" }, { type = \"feature\", head = \"linear\" }]\n";
    let bench = Bench::new(&format!("{SMALL}{sweep}"));
    let run = bench.run("out", &[]);
    assert_eq!(summary(&run)["steps"].as_array().unwrap().len(), 9);
    succeeded(&transplant().arg("evaluate").arg(&run).output().unwrap());
}

#[test]
fn views_of_a_row_are_tested_together_and_go_with_the_model() {
    let transforms = "{ type = \"pad\", height = 28, width = 28 }]\n";
    let augment = "augment = [{ type = \"pad_crop\", padding = 3 }]\n";
    let augmented = SMALL.replace(transforms, &format!("{transforms}{augment}"));
    let bench = Bench::new(&augmented);
    let scores = |run: &std::path::Path| {
        let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
        table.lines().filter(|l| l.starts_with("transfer")).map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = scores(&bench.run("plain", &[]));
    let run = bench.run("views", &["--set", "steps.transfer.test_views=3"]);
    assert_eq!(scores(&run).len(), plain.len());
    assert_ne!(scores(&run), plain);
    // The same rows, model and views give the same again.
    let said = succeeded(&transplant().arg("evaluate").arg(&run).output().unwrap());
    assert!(said.contains("as before"), "{said}");

    let picture = bench.out("digit.pgm");
    let pixels: String = (0..28 * 28).map(|i| if (12..16).contains(&(i % 28)) { "255 " } else { "0 " }).collect();
    std::fs::write(&picture, format!("P2 28 28 255\n{pixels}\n")).unwrap();
    let predict =
        |run: &std::path::Path| succeeded(&transplant().arg("predict").arg(run).arg(&picture).output().unwrap());
    assert_eq!(predict(&run), predict(&run));
    assert_ne!(predict(&run), predict(&bench.out("plain")));

    let none = bench.command("none", &["--set", "steps.pretrain.test_views=3"]).output().unwrap();
    let e = String::from_utf8_lossy(&none.stderr);
    assert!(e.contains("steps.pretrain.test_views") && e.contains("no random transform"), "{e}");
}
