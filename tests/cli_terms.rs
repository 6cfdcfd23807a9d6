//! Sessions with the real program about what is asked and what is fixed: objectives, pins, limits.

#[path = "cli/session.rs"]
mod session;

use session::{Answer, shardplan};

const RIG: &str = "2x RTX 3090 + RTX 3060";

fn plan(options: &[&str]) -> Answer {
    shardplan(&[&["plan", "llama-2-70b", "--rig", RIG], options].concat())
}

/// The run ends with `code` and one error that says all these words.
fn refused(options: &[&str], code: i32, words: &[&str]) {
    let answer = plan(options);
    assert_eq!(answer.code, Some(code), "{answer:?}");
    assert_eq!(answer.stdout, "");
    assert_eq!(answer.stderr.matches("error:").count(), 1, "{answer:?}");
    for word in words {
        assert!(answer.stderr.contains(word), "no `{word}` in {answer:?}");
    }
}

#[test]
fn pins_that_contradict_each_other_are_one_error() {
    let pins = ["--pin", "layers 0-10=cuda:1", "--pin", "layer 3=cuda0"];
    let words = ["`--pin \"layers 0-10=cuda1\"` and `--pin \"layer 3=cuda0\"` contradict"];
    refused(&pins, 1, &words);
    let pin = ["--pin", "head=cuda2", "--forbid", "cuda2"];
    refused(
        &pin,
        1,
        &["`--pin head=cuda2` and `--forbid cuda2` contradict"],
    );
}

#[test]
fn what_cannot_be_fixed_says_why() {
    let cases: [(&[&str], i32, &str); 10] = [
        (&["--pin", "layers 0-10"], 2, "is no pin"),
        (&["--pin", "layers 70-80=cuda0"], 1, "the last one is 79"),
        (&["--pin", "layer 3=cuda9"], 1, "the rig has `cuda0`"),
        (
            &["--pin", "embedding=cuda0"],
            1,
            "llama.cpp keeps the input embedding in RAM",
        ),
        (&["--pin", "layer 3=cpu"], 1, "needs RAM"),
        (&["--fix", "layers=3"], 2, "write `ngl=60`"),
        (&["--fix", "ngl=60"], 1, "needs RAM"),
        (
            &["--fix", "ngl=60", "--target", "transformers"],
            1,
            "is an option of llama.cpp",
        ),
        (&["--margin", "5"], 2, "such as `5%`"),
        (&["--objective", "speed"], 2, "`speed` is no objective"),
    ];
    for (options, code, words) in cases {
        refused(options, code, &[words]);
    }
}

#[test]
fn a_conflict_is_data_too() {
    let pins = [
        "--pin",
        "layers 40-43=cuda2",
        "--pin",
        "layer 79=cuda2",
        "--json",
    ];
    let answer = plan(&pins).json(3);
    assert_eq!(answer["proven"], true);
    let conflict = answer["conflict"].as_array().map(Vec::len);
    assert_eq!(conflict, Some(2), "{answer}");
    assert_eq!(answer["fixes"][0]["lever"], "without");
}

#[test]
fn an_objective_is_named_in_the_proof_with_its_amount() {
    let answer = plan(&["--objective", "devices,headroom", "--json"]).json(0);
    assert_eq!(answer["proof"]["goal"], "devices, headroom, decode");
    assert_eq!(answer["proof"]["objective"], 2.0);
    assert_eq!(answer["status"], "optimal");
    let text = plan(&["--objective", "headroom", "--margin", "5%"]);
    assert!(text.text().contains("% full)"), "{}", text.stdout);
}

#[test]
fn a_time_that_no_plan_keeps_is_no_plan() {
    refused(
        &["--max-time-per-token", "5ms"],
        3,
        &["the fastest takes 59.54 ms"],
    );
    let answer = plan(&["--max-time-per-token", "5ms", "--json"]).json(3);
    assert_eq!(answer["status"], "too_slow");
}

#[test]
fn robustness_is_shown_and_is_data() {
    // However slow the machine is, every mix is tried.
    let robust = ["--robust", "--time-limit", "600s"];
    let text = plan(&robust);
    assert!(
        text.text().contains("over 9 mixes of rates"),
        "{}",
        text.stdout
    );
    let answer = plan(&[&robust[..], &["--json"]].concat()).json(0);
    assert_eq!(answer["robustness"]["tried"], 9);
    assert!(answer["robustness"]["memory"].as_f64() > Some(0.0));
    refused(
        &["--robust", "--objective", "devices"],
        1,
        &["not about `devices`"],
    );
}

#[test]
fn a_limit_of_no_time_still_gets_a_plan() {
    let cards: Vec<_> = (0..14)
        .map(|n| format!("{} GiB@{} GB/s", 8 + n, 300 + 50 * n))
        .collect();
    let rig = cards.join(" + ");
    let plan = [
        "plan",
        "llama-2-70b",
        "--rig",
        &rig,
        "--time-limit",
        "0s",
        "--json",
    ];
    let answer = shardplan(&plan).json(0);
    assert!(
        ["optimal", "feasible"]
            .iter()
            .any(|it| answer["status"] == *it)
    );
}

#[test]
fn ten_thousand_devices_are_refused_and_a_thousand_are_planned_for() {
    let plan = |rig: &str| {
        let transformers = ["--target", "transformers", "--precision", "nf4"];
        shardplan(&[&["plan", "llama-2-70b", "--rig", rig][..], &transformers].concat())
    };
    assert_eq!(plan("1000x RTX 3060").code, Some(0));
    let answer = plan("10000x RTX 3060");
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("1000"), "{answer:?}");
}

#[test]
fn a_mix_within_a_time_is_for_the_gpus_of_one_host() {
    let line = "plan llama-2-70b --mix q4_k_m --max-time-per-token 65ms --rig";
    let rig = "host a, RTX 3090; host b, RTX 4090; network 10 GbE";
    let answer = shardplan(&line.split(' ').chain([rig]).collect::<Vec<_>>());
    assert_eq!(answer.code, Some(1), "{answer:?}");
    for words in ["one host", "leave out the time"] {
        assert!(answer.stderr.contains(words), "{answer:?}");
    }
}
