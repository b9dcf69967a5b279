use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod kinds;

fn read(log: &[u8]) -> Series {
    let mut reader = LogReader::new();
    reader.feed(log);
    reader.finish();
    reader.series().clone()
}

/// Formats the points as `step:value`.
fn short(series: &Series) -> String {
    short_of(&series.points)
}

fn short_of(points: &[Point]) -> String {
    points.iter().map(|point| format!("{}:{}", point.step, point.value)).collect::<Vec<_>>().join(" ")
}

fn of(log: &str) -> (Option<Source>, String) {
    let series = read(log.as_bytes());
    (series.source, short(&series))
}

fn steps(log: &str) -> (u64, Option<u64>) {
    let series = read(log.as_bytes());
    (series.steps_seen, series.steps_wanted)
}

const SD_SCRIPTS: &str = "  total optimization steps / 学習ステップ数: 3\n\
    \rsteps:   0%|          | 0/3 [00:00<?, ?it/s]\nepoch 1/2\n\n\
    \rsteps:  33%|███▎      | 1/3 [00:21<00:43, 21.74s/it]\
    \rsteps:  33%|███▎      | 1/3 [00:21<00:43, 21.74s/it, avr_loss=1.18]\
    \rsteps:  67%|██████▋   | 2/3 [00:25<00:12, 12.94s/it, avr_loss=1.18]\
    \rsteps:  67%|██████▋   | 2/3 [00:25<00:12, 12.94s/it, avr_loss=1.16]\nepoch 2/2\n\
    \rsteps: 100%|██████████| 3/3 [00:29<00:00,  9.83s/it, avr_loss=1.16]\
    \rsteps: 100%|██████████| 3/3 [00:29<00:00,  9.83s/it, avr_loss=nan]\nsaving checkpoint: /out/smoke.safetensors\n";

#[test]
fn sd_scripts_tells_an_average_one_behind() {
    let series = read(SD_SCRIPTS.as_bytes());
    assert_eq!((series.source, series.averaged), (Some(Source::SdScripts), true));
    assert_eq!(short(&series), "1:1.18 2:1.16 3:NaN");
    assert_eq!((series.steps_seen, series.steps_wanted), (3, Some(3)));
    assert_eq!(trend(&series), Trend::NotANumber);
}

#[test]
fn progress_without_a_loss_counts_as_steps() {
    let begin = &SD_SCRIPTS[..SD_SCRIPTS.find(", avr_loss").expect("a loss")];
    assert_eq!(of(begin), (Some(Source::SdScripts), String::new()));
    assert_eq!(steps(begin), (1, Some(3)));
    assert_eq!(
        of("caching latents: 100%|███| 2/2 [00:01<00:00, 1.8it/s]\n100%|███| 5/5 [00:01<00:00, 9it/s]\n").0,
        None
    );
}

#[test]
fn diffusers_and_simple_tuner() {
    let log = "\rSteps:  33%|███▎      | 1/3 [00:00<00:01,  1.71it/s, lr=0.0001, step_loss=1.18]\
        \rSteps:  67%|██████▋   | 2/3 [00:01<00:00,  1.87it/s, lr=0.0001, step_loss=1.18]11/23/2026 17:03:56 - INFO - x\n\
        \rSteps:  67%|██████▋   | 2/3 [00:01<00:00,  1.87it/s, lr=0.0001, step_loss=inf]\n";
    assert_eq!(of(log), (Some(Source::Diffusers), "1:1.18 2:inf".to_owned()));
    let log =
        "Epoch 1/2, Steps:  10%|█         | 10/100 [00:30<04:30, 3.0s/it, grad_norm=0.1, lr=8e-5, step_loss=0.217]\n";
    assert_eq!(of(log), (Some(Source::Diffusers), "10:0.217".to_owned()));
    assert_eq!(steps(log), (10, Some(100)));
}

#[test]
fn the_bar_after_a_dict_says_its_step() {
    let log = "[INFO|trainer.py:2440] 2026-11-23 17:04:34,868 >>   Total optimization steps = 30\n\n\
        \r  0%|          | 0/30 [00:00<?, ?it/s]\n\
        \r                                     \r{'loss': 5.7288, 'grad_norm': 0.53, 'learning_rate': 0.0001, 'epoch': 0.12}\n\
        \r 33%|███▎      | 10/30 [00:00<00:00, 14.70it/s]\r 60%|██████    | 18/30 [00:00<00:00, 16.12it/s]\
        \r{'loss': nan, 'grad_norm': nan, 'learning_rate': 0.0001, 'epoch': 0.25}\n\
        \r 67%|██████▋   | 20/30 [00:00<00:00, 16.12it/s]\n  0%|          | 0/4 [00:00<?, ?it/s]\n\
        {'eval_loss': 1.25, 'epoch': 0.25}\n{'loss': '5.692', 'grad_norm': '0.41', 'epoch': '0.38'}\n\
        100%|██████████| 30/30 [00:00<00:00, 16.12it/s][INFO|trainer.py:4069] >> Saving model checkpoint\n\
        {'train_runtime': 0.2087, 'train_loss': 5.716518084208171, 'epoch': 0.38}\n  train_loss               =     5.7165\n";
    assert_eq!(of(log), (Some(Source::HfTrainer), "10:5.7288 20:NaN 30:5.692".to_owned()));
    assert_eq!(steps(log), (30, Some(30)));
}

#[test]
fn dicts_without_bars_are_counted() {
    let log = "{'loss': 2.5, 'epoch': 0.1}\n{'loss': 2.25, 'epoch': 0.2}\n{'loss': 2, 'epoch': 0.3}\n";
    assert_eq!(of(log), (Some(Source::HfTrainer), "1:2.5 2:2.25 3:2".to_owned()));
    // Buffered output comes after all bars.
    let log = format!("\r 0%|  | 0/3 [00:00<?, ?it/s]\r100%|██| 3/3 [00:01<00:00, 3.1it/s]\n{log}");
    assert_eq!(of(&log), (Some(Source::HfTrainer), "1:2.5 2:2.25 3:2".to_owned()));
    // The summary shows how far the bars have come, and so how many steps are between the dicts.
    let log = log.replace("3/3", "30/30") + "{'train_runtime': 1.0, 'train_loss': 2.25, 'epoch': 0.3}\n";
    assert_eq!(of(&log), (Some(Source::HfTrainer), "10:2.5 20:2.25 30:2".to_owned()));
    let summary = "\r100%|██| 3/3 [00:01<00:00, 3.1it/s]\n{'train_runtime': 1.0, 'train_loss': 2.5, 'epoch': 0.4}\n";
    assert_eq!(steps(summary), (3, Some(3)), "also when no loss was told");
    let json =
        "{\"current_steps\": 5, \"total_steps\": 20, \"loss\": 0.5, \"lr\": 0.0001}\n{\"step\": 10, \"loss\": NaN}\n";
    assert_eq!(of(json), (Some(Source::HfTrainer), "5:0.5 10:NaN".to_owned()));
}

#[test]
fn ai_toolkit_and_one_trainer() {
    let log = "\rmy_flux_lora:   5%|▌         | 100/2000 [02:00<38:00,  1.2s/it, lr: 1.0e-04 loss: 4.123e-01]\n\
        \rmy_flux_lora:   5%|▌         | 101/2000 [02:01<38:00,  1.2s/it, lr: 1.0e-04 loss: 4.0e-01]\n";
    assert_eq!(of(log), (Some(Source::AiToolkit), "100:0.4123 101:0.4".to_owned()));
    let log = "epoch:   0%|          | 0/2 [00:00<?, ?it/s]\n\x1b[Astep:   0%|          | 0/2 [00:00<?, ?it/s]\
        \rstep:  50%|█████     | 1/2 [00:01<00:01, 1.0s/it, loss=0.5, smooth loss=0.55]\
        \rstep: 100%|██████████| 2/2 [00:02<00:00, 1.0s/it, loss=0.4, smooth loss=0.54]\n\
        \repoch:  50%|█████     | 1/2 [00:02<00:02, 2.0s/it]\rstep:   0%|          | 0/2 [00:00<?, ?it/s]\
        \rstep:  50%|█████     | 1/2 [00:01<00:01, 1.0s/it, loss=0.3, smooth loss=0.53]\n";
    assert_eq!(of(log), (Some(Source::OneTrainer), "1:0.5 2:0.4 3:0.3".to_owned()));
    assert_eq!(steps(log), (3, Some(4)));
}

#[test]
fn lines_of_words() {
    for (log, points) in [
        ("step 1/3 loss=0.1234\nstep 2/3 loss=0.5\n", "1:0.1234 2:0.5"),
        ("2026-11-23 17:03:52 INFO step=7 loss=1.5e-3 lr=0.0001\n", "7:0.0015"),
        (
            "Epoch [1/2], Step [1/2], Loss: 0.5\nEpoch [1/2], Step [2/2], Loss: 0.4\nEpoch [2/2], Step [1/2], Loss: 0.3\n",
            "1:0.5 2:0.4 3:0.3",
        ),
        ("Epoch 1/3 - loss: 0.9 - val_loss: 1.1\nEpoch 2/3 - loss: tensor(0.7, device='cuda:0')\n", "1:0.9 2:0.7"),
        ("epoch 1 | step 10 | loss 0.53\nepoch 2 | step 20 | loss -inf\n", "10:0.53 20:-inf"),
        ("step 3 val loss: 9, loss_weight=1, latest loss: 0.25\n", "3:0.25"),
        ("Iter 10: Train loss 2.345, Learning Rate 1.000e-05\nIter 10: Val loss 2.5\n", "10:2.345"),
        (
            "Epoch 1/2: 100%|███| 2/2 [00:01<00:00, 1.1it/s, loss=0.9]\rEpoch 2/2:  50%|█▌ | 1/2 [00:01<00:01, 1.1it/s, loss=0.8]\n",
            "2:0.9 3:0.8",
        ),
    ] {
        assert_eq!(of(log), (Some(Source::Plain), points.to_owned()), "{log}");
    }
    assert_eq!(steps("Epoch 1/2 Step 2/2 loss 1\nEpoch 2/2 Step 1/2 loss 1\n"), (3, Some(4)));
}

#[test]
fn other_lines_say_nothing() {
    for log in [
        "loss is high\n",
        "prior_loss_weight: 1.0 step 3\n",
        "step 3 glossy=0.5\n",
        "step 1/3 val_loss=0.5 eval/loss=0.4\n",
        "Validation: 50%|██ | 1/2 [00:01<00:01, 1.0it/s, loss=0.5]\n",
        "{'loss_type': 'l2', 'eval_loss': 0.5}\n",
        "Total optimization steps = many\n",
        "%|||[]%|1/2[\n",
    ] {
        assert_eq!(of(log), (None, String::new()), "{log}");
    }
}

#[test]
fn one_log_gives_one_series() {
    let other = "step 1/9 loss=9\n{'loss': 8.0, 'step': 5}\n";
    assert_eq!(of(&format!("{other}{SD_SCRIPTS}")).1, "5:8", "the first trainer that is known by its lines");
    assert_eq!(of(&format!("step 1/9 loss=9\n{SD_SCRIPTS}{other}")).1, "1:1.18 2:1.16 3:NaN");
    // The same job trains twice: the series is that of the second training.
    assert_eq!(of("step 1/3 loss=3\nstep 2/3 loss=2\nstep 3/3 loss=1\nstep 1/3 loss=0.5\n").1, "1:0.5");
    assert_eq!(of("step 1/3 loss=3\nstep 2/3 loss=2\nstep 3/3 loss=1\nstep 2/3 loss=1.5\n").1, "1:3 2:1.5");
}

#[test]
fn colours_and_broken_bytes_do_not_matter() {
    let log = b"\x1b[32mstep\x1b[0m 1/2 \x1b]0;title\x07loss=\x1b[1m0.5\x1b[0m \xff\xfe\nstep 2/2 loss=0.4";
    assert_eq!(short(&read(log)), "1:0.5 2:0.4");
}

#[test]
fn a_long_training_keeps_what_tells_most() {
    let mut reader = LogReader::new();
    for step in 1..=50_000_u64 {
        let loss = match step {
            12_345 => "99.5".to_owned(),
            38_765 => "nan".to_owned(),
            44_501 => "0.001".to_owned(),
            _ => format!("{}", 1.0 + (step % 7) as f64 / 10.0),
        };
        reader.feed(format!("step {step}/50000 loss={loss} lr=1e-{}\n", step % 5 + 1).as_bytes());
    }
    let rates = reader.series().other(Measure::LearningRate);
    assert!(rates.len() <= MAX_POINTS / 4 && rates.len() > MAX_POINTS / 16, "{}", rates.len());
    assert_eq!((rates[0].step, rates.last().map(|last| last.step)), (1, Some(50_000)));
    let series = reader.series();
    assert!(series.points.len() <= MAX_POINTS && series.points.len() > MAX_POINTS / 4, "{}", series.points.len());
    assert_eq!((series.points[0].step, series.last().map(|last| last.step)), (1, Some(50_000)));
    assert!(series.points.iter().any(|point| point.step == 12_345 && point.value == 99.5));
    assert_eq!(series.lowest().map(|lowest| lowest.step), Some(44_501));
    assert_eq!(series.first_not_finite().map(|point| point.step), Some(38_765));
    let widest = series.points.windows(2).map(|pair| pair[1].step - pair[0].step).max();
    assert!(widest < Some(400), "stretches are even, but {widest:?} steps have no point");
}

#[test]
fn a_line_without_an_end_is_bounded() {
    let mut reader = LogReader::new();
    for _ in 0..1000 {
        reader.feed(&[b'x'; 10_000]);
    }
    reader.feed(b"step 1/2 loss=0.5\nstep 2/2 loss=0.4\n");
    assert_eq!(short(reader.series()), "2:0.4");
}

#[test]
fn the_version_tells_changes() {
    let mut reader = LogReader::new();
    reader.feed(b"step 1/2 loss=0.5\n");
    let version = reader.version();
    reader.feed(b"step 1/2 loss=0.5\nother\n");
    assert_eq!(reader.version(), version);
    reader.feed(b"step 2/2 loss=0.5\n");
    assert!(reader.version() > version);
}

#[test]
fn json_says_which_number_it_is_not() {
    let series = read(b"step 1/3 loss=0.5\nstep 2/3 loss=nan\nstep 3/3 loss=-inf\n");
    let json = serde_json::to_value(&series).expect("JSON");
    let expected = json!({
        "source": "plain", "averaged": false, "steps_wanted": 3, "steps_seen": 3,
        "points": [{"step": 1, "value": 0.5}, {"step": 2, "value": "nan"}, {"step": 3, "value": "-inf"}],
    });
    assert_eq!(json, expected);
    let back: Series = serde_json::from_value(json).expect("a series");
    assert_eq!(short(&back), short(&series));
}

fn trend_of(values: impl IntoIterator<Item = f64>) -> Trend {
    let mut log = String::new();
    for (step, value) in values.into_iter().enumerate() {
        let _ = writeln!(log, "step {} loss={value}", step + 1);
    }
    trend(&read(log.as_bytes()))
}

/// Returns deterministic noise between -1 and 1.
fn noise(step: u32) -> f64 {
    f64::from(step.wrapping_mul(2_654_435_761).rotate_left(13) % 2000) / 1000.0 - 1.0
}

#[test]
fn trends() {
    let noisy = |level: fn(f64) -> f64| trend_of((0..500).map(|n| level(f64::from(n)) + 0.05 * noise(n)));
    assert_eq!(noisy(|n| 0.2 + 0.8 * (-n / 80.0).exp()), Trend::Falling);
    assert_eq!(noisy(|_| 0.15), Trend::Flat, "the noise of diffusion is no trend");
    assert_eq!(noisy(|n| 0.15 + n / 20_000.0), Trend::Flat, "a little above");
    assert_eq!(noisy(|n| if n < 300.0 { 0.2 } else { 0.2 + (n - 300.0) / 50.0 }), Trend::Diverged);
    assert_eq!(
        noisy(|n| 2.0 - n / 250.0 + if n > 400.0 { 1.9 } else { 0.0 }),
        Trend::Diverged,
        "it was far lower once"
    );
    assert_eq!(noisy(|n| if n > 400.0 { f64::NAN } else { 1.0 }), Trend::NotANumber);
    assert_eq!(
        trend_of((0..100).map(|n| if n == 50 { f64::INFINITY } else { 1.0 - f64::from(n) / 200.0 })),
        Trend::Falling
    );
    assert_eq!(trend_of((0..100).map(|n| if n == 99 { 1e9 } else { 1.0 })), Trend::Flat, "one outlier is no trend");
    assert_eq!(trend_of([3.0, 2.0, 1.0]), Trend::TooShort);
    assert_eq!(trend_of([3.0, f64::NAN]), Trend::NotANumber);
    assert_eq!(trend_of([]), Trend::TooShort);
    assert_eq!(trend_of([0.0, 0.0]), Trend::Zero, "also when it is short");
    assert_eq!(trend_of([0.0; 50]), Trend::Zero);
    assert_eq!(trend_of([0.0, 0.0, 1e-9]), Trend::TooShort);
}

fn file(name: &str, bytes: &[u8]) -> Result<Series, String> {
    from_file(name, bytes).expect("a name of a trainer's file").map_err(|error| error.to_string())
}

#[test]
fn files_of_transformers_and_llama_factory() {
    let log = "{\"current_steps\": 1, \"total_steps\": 3, \"loss\": 5.7288, \"lr\": 0.0001, \"epoch\": 0.125}\n\
        {\"current_steps\": 2, \"total_steps\": 3, \"loss\": NaN, \"epoch\": 0.25}\n\
        {\"current_steps\": 3, \"total_steps\": 3, \"eval_loss\": 5.5}\n{\"current_st";
    let series = file("out/checkpoint-3/trainer_log.jsonl", log.as_bytes()).expect("a series");
    assert_eq!((series.source, short(&series)), (Some(Source::TrainerLog), "1:5.7288 2:NaN".to_owned()));
    assert_eq!((series.steps_seen, series.steps_wanted), (3, Some(3)));
    assert!(file("trainer_log.jsonl", b"<html>\n").is_err_and(|error| error.contains("no line of JSON")));

    let state = json!({"global_step": 30, "max_steps": 30, "best_metric": null, "note": "NaN \" Infinity", "log_history": [
        {"step": 10, "loss": 2.5, "epoch": 0.1, "learning_rate": 0.5, "grad_norm": 4}, {"step": 20, "loss": -7}, {"step": 20, "eval_loss": 3.0},
        {"step": 30, "loss": "Infinity"}, {"step": 30, "train_runtime": 9.5, "train_loss": 2.25},
    ]});
    let state = state.to_string().replace("\"Infinity\"", "Infinity").replace("-7", "NaN");
    let series = file("trainer_state.json", state.as_bytes()).expect("a series");
    assert_eq!((series.source, short(&series)), (Some(Source::TrainerState), "10:2.5 20:NaN 30:inf".to_owned()));
    assert_eq!((series.steps_seen, series.steps_wanted), (30, Some(30)));
    assert_eq!(short_of(series.other(Measure::EvalLoss)), "20:3");
    assert_eq!(short_of(series.other(Measure::LearningRate)), "10:0.5");
    assert_eq!(short_of(series.other(Measure::GradientNorm)), "10:4");
    let other_name = read_any("state.json", state.as_bytes()).expect("a series");
    assert_eq!((other_name.source, short(&other_name)), (Some(Source::TrainerState), short(&series)));
    assert!(file("trainer_state.json", b"[1]").is_err_and(|error| error.contains("not the state of a trainer")));
    assert!(from_file("adapter_config.json", &b"{}"[..]).is_none());
}

#[test]
fn tables_of_metrics() {
    let table = "epoch,lr-AdamW,step,train_loss_step,val_loss\n0,0.5,9,2.5,\n0,,19,nan,\n0,,19,,3.0\n1,0.25,29,2.0,\n";
    let series = file("logs/version_0/metrics.csv", table.as_bytes()).expect("a series");
    assert_eq!((series.source, short(&series)), (Some(Source::Metrics), "9:2.5 19:NaN 29:2".to_owned()));
    assert_eq!(short_of(series.other(Measure::EvalLoss)), "19:3");
    assert_eq!(short_of(series.other(Measure::LearningRate)), "9:0.5 29:0.25");
    let renamed = read_any("loss.txt", &b"epoch, loss\n1, 0.5\n2, 0.25\n"[..]).expect("a series");
    assert_eq!((renamed.source, short(&renamed)), (Some(Source::Metrics), "1:0.5 2:0.25".to_owned()));
    assert!(file("metrics.csv", b"name,size\na,1\n").is_err_and(|error| error.contains("no columns for steps")));
    let log = read_any("a.log", &b"step 1, loss 0.5, lr 1\n"[..]).expect("a series");
    assert_eq!(log.source, Some(Source::Plain), "commas make no table");
}

/// Encodes a record of an event file.
fn record(data: &[u8]) -> Vec<u8> {
    let check = |bytes: &[u8]| {
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(bytes);
        sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &check(&length), data, &check(data)].concat()
}

/// Encodes a field of a message with fewer than 128 bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

fn scalar(step: u8, tag: &str, value: &[u8]) -> Vec<u8> {
    let value = [field(1, tag.as_bytes()), value.to_vec()].concat();
    let time = [&[0x09][..], &1.7e9_f64.to_le_bytes()].concat();
    record(&[time, vec![0x10, step], field(5, &field(1, &value))].concat())
}

/// Folder of a run of MLflow.
const MLFLOW_RUN: &str = "mlruns/0/d98cd8c5941640d68f724a5600aa34da";

#[test]
fn metrics_of_mlflow() {
    let read = |name: &str, text: &str| file(&format!("{MLFLOW_RUN}/metrics/{name}"), text.as_bytes());
    let series = read("train/loss", "1796072537195 1.0 1\n1796072537197 nan 2\n1796072537199 0.25 3\n17960725")
        .expect("a series");
    assert_eq!((series.source, short(&series)), (Some(Source::Mlflow), "1:1 2:NaN 3:0.25".to_owned()));
    assert_eq!((series.steps_seen, series.scalars["train/loss"]), (3, 0.25));
    let eval = read("eval/loss", "1 0.5 10\n").expect("a series");
    assert_eq!((short(&eval), short_of(eval.other(Measure::EvalLoss))), (String::new(), "10:0.5".to_owned()));
    assert!(read("loss", "one two three\n1 0.5 -1\n\n").expect("a series").points.is_empty());
    let params = format!("{MLFLOW_RUN}/params/loss");
    for path in ["metrics/loss", "runs/metrics/loss", &params, MLFLOW_RUN] {
        assert!(from_file(path, &b"1 0.5 1\n"[..]).is_none(), "{path}");
    }
}

#[test]
fn event_files_of_tensorboard() {
    let simple = |value: f32| [&[0x15][..], &value.to_le_bytes()].concat();
    let tensor = |value: f32| field(8, &[&[0x08, 0x01, 0x12, 0x00][..], &field(5, &value.to_le_bytes())].concat());
    let content = |value: f32| field(8, &[&[0x08, 0x01][..], &field(4, &value.to_le_bytes())].concat());
    let begin = record(&[[&[0x09][..], &[0; 8]].concat(), field(3, b"brain.Event:2")].concat());
    let long = record(&vec![7; 3 << 20]);
    let whole = [
        begin,
        scalar(1, "lr/unet", &simple(1e-4)),
        scalar(1, "loss/current", &simple(0.5)),
        scalar(1, "val_loss", &simple(9.0)),
        long,
        scalar(2, "loss/current", &tensor(f32::NAN)),
        scalar(3, "loss/current", &content(0.25)),
        scalar(3, "loss", &simple(7.0)),
    ]
    .concat();
    let name = "logs/20261123/events.out.tfevents.1763917000.host.12.0";
    let series = file(name, &whole).expect("a series");
    assert_eq!((series.source, short(&series)), (Some(Source::TensorBoard), "1:0.5 2:NaN 3:0.25".to_owned()));
    assert_eq!(short_of(series.other(Measure::EvalLoss)), "1:9");
    assert_eq!(short_of(series.other(Measure::LearningRate)), format!("1:{}", f64::from(1e-4_f32)));
    assert_eq!(read_any("renamed", &*whole).expect("a series").points.len(), 3, "by its content");
    assert!(!series.averaged);
    let other = [scalar(1, "Train/Samples/train_loss", &simple(0.5)), scalar(1, "my_loss", &simple(9.0))].concat();
    assert_eq!(short(&file(name, &other).expect("a series")), "1:0.5", "the first that is called a loss");
    let eval = [scalar(1, "test/loss", &simple(0.5)), scalar(1, "loss_scale", &simple(9.0))].concat();
    assert_eq!(short(&file(name, &eval).expect("a series")), "");
    let averaged = file(name, &[whole.clone(), scalar(1, "loss/average", &simple(0.75))].concat()).expect("a series");
    assert_eq!((averaged.averaged, short(&averaged)), (true, "1:0.75".to_owned()));
    // Truncated at any byte, the file returns the points before; damaged at any byte, it returns an error.
    let small = [scalar(1, "loss", &simple(1.0)), scalar(2, "loss", &simple(2.0))].concat();
    for end in 0..small.len() {
        assert_eq!(
            file(name, &small[..end]).expect("a series").points.len(),
            usize::from(end >= small.len() / 2),
            "{end}"
        );
        let mut damaged = small.clone();
        damaged[end] ^= 1;
        assert!(file(name, &damaged).is_err(), "byte {end} was not checked");
    }
}

#[test]
fn real_logs() {
    let Some(shared) = std::env::var_os("TRAINYARD_SHARED").map(std::path::PathBuf::from) else { return };
    for (name, source, points) in [
        ("log-t15c.log.txt", Source::SdScripts, "1:1.03 2:1.14 3:1.15"),
        ("log-sd_fullb.log.txt", Source::SdScripts, "1:1.18 2:1.16 3:1.19"),
        ("log-diff.log.txt", Source::Diffusers, "1:1.18 2:1.18 3:1.18"),
        ("log-lf.log.txt", Source::HfTrainer, "1:5.7288 2:5.692 3:5.7288"),
    ] {
        let series = read(&std::fs::read(shared.join("lora/logs").join(name)).expect("a log"));
        assert_eq!((series.source, short(&series)), (Some(source), points.to_owned()), "{name}");
        assert_eq!((series.steps_seen, series.steps_wanted), (3, Some(3)), "{name}");
    }
}

/// Generates logs that are likely to break the parser: bars, dicts and words between broken bytes and escapes.
fn nasty_log() -> impl Strategy<Value = Vec<u8>> {
    let parts = vec![
        "\rsteps:  33%|███▎ | 1/3 [00:21<00:43, 2s/it, avr_loss=1.18]",
        "step: 50%|█| 1/2 [0, 1, loss=inf]",
        "{'loss': nan}\n",
        "\r 33%|███▎ | 1/3 [00:00<00:00, 1it/s]\n",
        "step 18446744073709551615/3 loss=",
        "1e999\n",
        "Epoch 9/9 ",
        "step 0/0 loss=-1\n",
        "\x1b[31m",
        "\x1b]",
        "\r",
        "\n",
        "%|",
        "|",
        "[",
        "]",
        "/",
        "loss",
        "=",
        "epoch 2 step 1 loss 3\n",
        "{\"step\": 7, \"loss\": 1}\n",
        "{'loss': 0.0, 'grad_norm': nan, 'eval_loss': 2}\n",
        "3/7 ━━━━ 1s 2ms/step - loss: 1\n",
        "Epoch 0/4 ━━━━━ 3/7 0:00:01 train_loss: 2\n",
        "loss 5: 12it [00:01, 2it/s, lr=1]",
        "loss: 0.25\n",
        "Epoch 2/3\n",
    ];
    let part = prop_oneof![
        1 => any::<Vec<u8>>(),
        6 => prop::sample::select(parts).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u64>().prop_map(|number| number.to_string().into_bytes()),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

fn value(series: &Series) -> Value {
    serde_json::to_value(series).expect("JSON")
}

proptest! {
    #[test]
    fn pieces_give_the_same_as_the_whole(log in nasty_log(), size in 1..40_usize) {
        let mut reader = LogReader::new();
        log.chunks(size).for_each(|piece| reader.feed(piece));
        reader.finish();
        let whole = read(&log);
        prop_assert_eq!(value(reader.series()), value(&whole));
        prop_assert!(whole.points.windows(2).all(|pair| pair[0].step < pair[1].step));
        trend(&whole);
    }

    #[test]
    fn a_stored_reader_goes_on_as_if_it_had_not_stopped(log in nasty_log(), size in 1..200_usize) {
        let mut reader = LogReader::new();
        for piece in log.chunks(size) {
            reader.feed(piece);
            let stored = serde_json::to_string(&reader).expect("JSON");
            reader = serde_json::from_str(&stored).expect("a reader");
        }
        reader.finish();
        let (series, whole) = (reader.series(), read(&log));
        prop_assert_eq!(
            (series.source, series.averaged, series.steps_wanted, series.steps_seen),
            (whole.source, whole.averaged, whole.steps_wanted, whole.steps_seen)
        );
        prop_assert_eq!(series.points.len(), whole.points.len());
        for (ours, theirs) in series.points.iter().zip(&whole.points) {
            // A number may lose its last bit on its way through JSON.
            let is_same = ours.value.to_bits().abs_diff(theirs.value.to_bits()) <= 4 || ours.value.is_nan() && theirs.value.is_nan();
            prop_assert!(ours.step == theirs.step && is_same, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn no_file_is_too_much(bytes in any::<Vec<u8>>()) {
        for name in ["trainer_log.jsonl", "trainer_state.json", "metrics.csv", "events.out.tfevents.1.x", "a.wandb"] {
            let _ = file(name, &bytes);
        }
        let _ = file("a.wandb", &[b":W&B\xe1\xbe\0", &*bytes].concat());
        let _ = file(&format!("{MLFLOW_RUN}/metrics/loss"), &bytes);
        let _ = file("events.out.tfevents.1.x", &record(&bytes));
    }
}
