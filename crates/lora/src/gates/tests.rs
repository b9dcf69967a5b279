use super::*;
use crate::series::LogReader;

const GIB: u64 = 1 << 30;

fn series(log: &str) -> Series {
    let mut reader = LogReader::new();
    reader.feed(log.as_bytes());
    reader.series().clone()
}

fn saved(path: &str, norm: f64) -> Saved {
    let summary = Summary {
        sha256: String::new(),
        bytes: 100,
        family: None,
        methods: Vec::new(),
        ranks: vec![16],
        dtypes: Vec::new(),
        parameters: 1,
        modules: 1,
        untrained: 0,
        median_norm: Some(norm),
        norms_are_exact: true,
        blocks: Vec::new(),
        problems: Vec::new(),
    };
    Saved { path: path.to_owned(), weights: Weights::Read(Box::new(summary)) }
}

/// The facts of a training that gates see, but for the loss.
struct World {
    saved: Vec<Saved>,
    metrics: BTreeMap<String, f64>,
    scalars: BTreeMap<String, f64>,
    gpu_memory: Option<u64>,
    reference: Reference,
}

fn world(reference: Reference) -> World {
    let saved = vec![saved("ink.safetensors", 0.6)];
    World { saved, metrics: BTreeMap::new(), scalars: BTreeMap::new(), gpu_memory: None, reference }
}

impl World {
    /// Returns each condition: its name, its result and its words.
    fn check(&self, gates: &Gates, log: &str) -> Vec<(String, bool, String)> {
        let facts = Facts {
            series: &series(log),
            saved: &self.saved,
            metrics: &self.metrics,
            scalars: &self.scalars,
            samples: 0,
            duration: Duration::from_secs(1),
            gpu_memory: self.gpu_memory,
            reference: &self.reference,
        };
        gates.check(&facts).into_iter().map(|it| (it.name, it.holds, it.told)).collect()
    }

    /// Checks one gate.
    fn one(&self, gates: &Gates, log: &str) -> (bool, String) {
        let mut all = self.check(gates, log);
        assert_eq!(all.len(), 1, "{all:?}");
        let (_, holds, told) = all.remove(0);
        (holds, told)
    }
}

const LOG: &str = "step 1/2 loss=0.5\nstep 2/2 loss=0.3\n";

fn within(part: f64) -> Gates {
    let loss = LossGate { mean: Bounds::default(), window: 1, falling: false, within: Some(part) };
    Gates { loss: Some(loss), ..Gates::default() }
}

fn earlier(loss: f64, norm: f64) -> Reference {
    let points = [Point { step: 1, value: 9.0 }, Point { step: 2, value: loss }];
    Reference::of_training("build 7 of main".to_owned(), &points, 1, &[saved("ink.safetensors", norm)])
}

#[test]
fn the_loss_is_compared_with_that_of_an_earlier_training() {
    let (holds, told) = world(earlier(0.28, 1.0)).one(&within(0.1), LOG);
    assert!(holds, "{told}");
    let wanted = "that of build 7 of main is 0.2800, and 10% of difference are allowed";
    assert_eq!(told, format!("the mean of the last 1 steps is 0.3000 (+7.1%), {wanted}"));
    assert!(!world(earlier(0.2, 1.0)).one(&within(0.1), LOG).0, "higher");
    assert!(!world(earlier(0.4, 1.0)).one(&within(0.1), LOG).0, "a loss that is much lower is suspect, too");
    let (holds, told) = world(earlier(0.2, 1.0)).one(&within(0.1), "hello\n");
    assert!(!holds && told.starts_with("no loss was seen"), "{told}");
    assert!(!world(earlier(f64::NAN, 1.0)).one(&within(0.1), LOG).0);
    assert!(!world(earlier(0.0, 1.0)).one(&within(0.1), LOG).0);
}

#[test]
fn the_norm_of_each_file_is_compared_by_its_name() {
    let gates = Gates { norm_factor: Some(2.0), ..Gates::default() };
    let (holds, told) = world(earlier(0.3, 0.4)).one(&gates, LOG);
    assert!(holds, "{told}");
    let (holds, told) = world(earlier(0.3, 0.2)).one(&gates, LOG);
    let expected = "ink.safetensors: median norm 0.6000, that of build 7 of main is 0.2000, between 0.1000 and 0.4000 is \
                    wanted";
    assert_eq!((holds, told.as_str()), (false, expected));
    assert!(!world(earlier(0.3, 2.0)).one(&gates, LOG).0, "too small");
    let other = Reference::of_training("build 7 of main".to_owned(), &[], 1, &[saved("other.safetensors", 0.6)]);
    let (holds, told) = world(other).one(&gates, LOG);
    assert_eq!((holds, told.as_str()), (false, "build 7 of main has no norm for ink.safetensors"));
    let without = World { saved: Vec::new(), ..world(earlier(0.3, 0.4)) };
    assert!(without.one(&gates, LOG).1.starts_with("no weights were saved"));
}

#[test]
fn the_reference_is_a_file_or_an_earlier_training_or_nothing_yet() {
    let of = |text: &str| Reference::of_file("ci/ink.json", Some(text.as_bytes()));
    let both = Gates { norm_factor: Some(2.0), ..within(0.1) };
    let results = |reference| world(reference).check(&both, LOG).into_iter().map(|it| it.1).collect::<Vec<bool>>();
    assert_eq!(results(of("{\"loss\": 0.31, \"norm\": 0.5}")), [true, true]);
    assert_eq!(results(of("{\"loss\": 0.31}")), [true, false], "a number that is missing keeps no gate");
    assert_eq!(results(Reference::Nothing("no training has passed yet".to_owned())), [true, true]);
    for (reference, told) in [
        (of("[]"), "is not in the form"),
        (of("{\"losses\": 1}"), "unknown field `losses`"),
        (of("{\"loss\": \"low\"}"), "is not in the form"),
        (Reference::of_file("ci/ink.json", None), "the commit has no ci/ink.json"),
    ] {
        let all = world(reference).check(&both, LOG);
        assert!(all.iter().all(|(_, holds, words)| !holds && words.contains(told)), "{told}: {all:?}");
    }
    assert!(both.need_reference() && !Gates::default().need_reference());
}

#[test]
fn gpu_memory_has_a_bound_and_must_have_been_seen() {
    let gates = Gates { vram: Some(20 * GIB), ..Gates::default() };
    let seen = |gpu_memory| World { gpu_memory, ..world(Reference::Nothing(String::new())) }.one(&gates, LOG);
    assert_eq!(seen(Some(12 * GIB)), (true, "12.0 GiB of GPU memory, at most 20.0 GiB is wanted".to_owned()));
    assert!(!seen(Some(21 * GIB)).0);
    let (holds, told) = seen(None);
    assert!(!holds && told.starts_with("the GPU memory of this attempt was not seen"), "{told}");
}

#[test]
fn a_metric_is_looked_for_in_the_file_then_in_tensorboard_then_in_the_log() {
    let gate = |name: &str| {
        let metrics = BTreeMap::from([(name.to_owned(), Bounds { min: Some(0.25), max: None })]);
        Gates { metrics, ..Gates::default() }
    };
    let number = |name: &str, value| BTreeMap::from([(name.to_owned(), value)]);
    let log = "{'loss': 0.5, 'step': 1}\n{'eval_loss': 0.4, 'step': 1}\n{'loss': 0.3, 'step': 2}\n";
    let all = World {
        metrics: number("eval/clip", 0.3),
        scalars: [("eval/clip".to_owned(), 0.1), ("eval/fid".to_owned(), 31.0)].into(),
        ..world(Reference::Nothing(String::new()))
    };
    assert_eq!(all.one(&gate("eval/clip"), log), (true, "eval/clip is 0.3, at least 0.25 is wanted".to_owned()));
    assert!(all.one(&gate("eval/fid"), log).0);
    assert_eq!(all.one(&gate("eval_loss"), log), (true, "eval_loss is 0.4, at least 0.25 is wanted".to_owned()));
    let (holds, told) = all.one(&gate("eval/ssim"), log);
    let known = "metrics.json has eval/clip; TensorBoard has eval/clip, eval/fid; the log has eval_loss";
    assert_eq!((holds, told), (false, format!("eval/ssim is missing: {known}")));
    let (_, told) = world(Reference::Nothing(String::new())).one(&gate("eval/ssim"), LOG);
    assert_eq!(told, "eval/ssim is missing: the output folder has no metrics.json with numbers");
}
