//! A run that is killed, or told to stop, in the middle of an epoch resumes to the byte-identical result.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Bench, SMALL, results, succeeded, transplant};

/// Starts a run, waits until a checkpoint of the pretraining is there, sends a signal, and resumes.
fn interrupted_by(signal: &str, code: Option<i32>) {
    let text = SMALL.replace(
        "trainer = { epochs = 2, batch_size = 16,",
        "trainer = { epochs = 40, batch_size = 16, checkpoint_every_secs = 0.05,",
    );
    let bench = Bench::new(&text);
    let expected = results(&bench.run("whole", &[]));

    let mut child = bench.command("cut", &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let has_checkpoint = || {
        let found = std::process::Command::new("find")
            .arg(bench.out("cut"))
            .args(["-name", "step-*.safetensors"])
            .output()
            .unwrap();
        found.stdout.iter().filter(|b| **b == b'\n').count() >= 2
    };
    while !has_checkpoint() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint in a minute");
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(20));
    }
    let sent =
        std::process::Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), code);
    assert!(
        !bench.out("cut").join("summary.json").is_file() || super::summary(&bench.out("cut"))["status"] != "finished"
    );

    succeeded(&bench.command("cut", &["--resume"]).output().unwrap());
    let events = std::fs::read_to_string(bench.out("cut").join("events.jsonl")).unwrap();
    assert!(events.contains("resumed after step"), "the run began again instead of going on");
    let (models, metrics) = results(&bench.out("cut"));
    assert_eq!(metrics, expected.1);
    assert!(models == expected.0, "the models differ");
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    interrupted_by("KILL", None);
}

#[test]
fn a_run_told_to_stop_resumes_to_the_same_bytes() {
    interrupted_by("TERM", Some(143));
}

/// The last step that did finish may be the one that others were to start from: its network knows other classes.
#[test]
fn what_is_not_finished_is_neither_predicted_with_nor_called_right() {
    let bench = Bench::new(SMALL);
    let failed = bench.command("run", &["--set", "steps.transfer.trainer.optimiser.lr=1e30"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(3), "training diverged");
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(told.contains("cell `transfer-seed0`, phase `") && told.contains("the loss `"), "{told}");
    let refused = |verb: &str, more: &[&str]| {
        let out = transplant().arg(verb).arg(bench.out("run")).args(more).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stdout));
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains("is not finished: it is failed, with 1 cell done"), "{said}");
        said
    };
    assert!(refused("predict", &["digit.png"]).contains("--cell"));
    assert!(refused("evaluate", &[]).contains("--resume"));
}
