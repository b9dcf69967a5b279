//! The ways in which programs show steps and losses that no known trainer has.

use super::*;

/// Returns the points, the steps seen and the total.
fn all(log: &str) -> (String, u64, Option<u64>) {
    let series = read(log.as_bytes());
    (short(&series), series.steps_seen, series.steps_wanted)
}

fn expected(points: &str, seen: u64, wanted: Option<u64>) -> (String, u64, Option<u64>) {
    (points.to_owned(), seen, wanted)
}

#[test]
fn a_loss_in_the_label_of_a_bar() {
    for label in ["Epoch 1, Step 0, Loss: 0.5", "loss=0.5", "Loss 0.5", "1|10|Loss: 0.5", "train loss = 0.5"] {
        let log = format!("\r{label}:  33%|███▎      | 1/3 [00:01<00:02,  1.09s/it]\n");
        assert_eq!(all(&log), expected("1:0.5", 1, Some(3)), "{label}");
    }
    for label in ["Validation Loss: 0.5", "Evaluating, loss 0.5", "lossless 5", "Loading weights"] {
        let log = format!("\r{label}:  33%|███▎      | 1/3 [00:01<00:02,  1.09s/it]\n");
        assert_eq!(all(&log), expected("", 0, None), "{label}");
    }
    // torchtune: the bar counts the steps of an epoch.
    let log = "1|1|Loss: 2.5:  50%|█| 1/2 [00:01<00:01, 1.1s/it]\r1|2|Loss: 2.25: 100%|█| 2/2 [00:02<00:00, 1.1s/it]\n\
               \r2|3|Loss: 2.0:  50%|█| 1/2 [00:01<00:01, 1.1s/it]\n";
    assert_eq!(all(log).0, "1:2.5 2:2.25 3:2");
    // Several bars that no line end separates.
    let log = "L loss 3:  50%|█| 1/2 [00:01<00:01, 1s/it]L loss 2: 100%|█| 2/2 [00:02<00:00, 1s/it]\n";
    assert_eq!(all(log).0, "1:3 2:2");
}

#[test]
fn a_bar_without_a_total() {
    let log = "\r0it [00:00, ?it/s]\r1it [00:01,  1.1s/it, loss=0.9]\r2it [00:02,  1.1s/it, Loss=0.8]\n";
    assert_eq!(all(log), expected("1:0.9 2:0.8", 2, None));
    let log = "Train: 10 steps [01:00:02, 2.1 steps/s, lr=1e-4, train_loss=0.7]\n";
    assert_eq!(all(log), expected("10:0.7", 10, None));
    assert_eq!(all("Generating train split: 2 examples [00:00, 308.35 examples/s]\n"), expected("", 0, None));
}

#[test]
fn a_loss_in_a_line_of_its_own_has_the_step_of_the_bar() {
    let bar = |done| format!("\r{}%|█▎ | {done}/3 [00:01<00:02,  1.09s/it]", done * 33);
    // The line comes before the bar moves on, or after it.
    let before = format!("{}\nloss: 3.0\n{}\nloss: 2.0\n{}\nloss: 1.0\n{}\n", bar(0), bar(1), bar(2), bar(3));
    assert_eq!(all(&before), expected("1:3 2:2 3:1", 3, Some(3)));
    let after = format!("{}\n{}\nloss: 3.0\n{}loss 2.0\n{}\ntrain loss: 1.0\n", bar(0), bar(1), bar(2), bar(3));
    assert_eq!(all(&after), expected("1:3 2:2 3:1", 3, Some(3)));
    // A bar for each epoch.
    assert_eq!(all(&format!("{before}{before}")).0, "1:3 2:2 3:1 4:3 5:2 6:1");
    let epochs = format!("Epochs:   0%|  | 0/2 [00:00<?, ?it/s]\n{before}{before}");
    assert_eq!(all(&epochs), expected("1:3 2:2 3:1 4:3 5:2 6:1", 6, Some(6)));
    assert_eq!(all(&after.replace("/3 [", "it/3 [")), expected("", 0, None), "without a bar there is no step");
    // A bar that loads something counts no steps, and a summary adds none.
    let log = "Loading shards: 100%|██| 4/4 [00:01<00:00, 4it/s]\nloss: 9\nstep 1/2 loss 0.5\nfinal loss: 0.25\n";
    assert_eq!(all(log), expected("1:0.5", 1, Some(2)));
    let log = "loss=0.5:  50%|█| 1/2 [00:01<00:01, 1s/it]\nEpoch 1: average loss 0.75\nloss 7\n";
    assert_eq!(all(log).0, "1:0.5", "the epoch's average is no step");
}

#[test]
fn lightning_and_rich() {
    let log = "Sanity Checking DataLoader 0: 100%|██| 2/2 [00:00<00:00, 9.1it/s]\n\
        \rEpoch 0:  50%|█▌ | 1/2 [00:01<00:01, 1.1it/s, v_num=0, train_loss_step=0.9]\
        \rEpoch 0: 100%|███| 2/2 [00:01<00:00, 1.1it/s, v_num=0, train_loss_step=0.8]\
        \rValidation DataLoader 0:  50%|██ | 1/2 [00:01<00:01, 1.0it/s]\
        \rEpoch 0: 100%|███| 2/2 [00:01<00:00, 1.1it/s, v_num=0, train_loss_step=0.8, val_loss=0.7]\
        \rEpoch 1:  50%|█▌ | 1/2 [00:01<00:01, 1.1it/s, v_num=0, train_loss_step=0.6]\n";
    assert_eq!(all(log), expected("1:0.9 2:0.8 3:0.6", 3, None));
    assert_eq!(short_of(read(log.as_bytes()).other(Measure::EvalLoss)), "2:0.7");
    let log = "Epoch 0/1 ━━━━━╺━━━━ 1/2 0:00:01 • 0:00:01 1.1it/s v_num: 0.000 train_loss: 0.9\n\
        Epoch 0/1 ━━━━━━━━━━ 2/2 0:00:02 • 0:00:00 1.1it/s v_num: 0.000 train_loss: 0.8\n\
        Epoch 1/1 ━━━━━╺━━━━ 1/2 0:00:01 • 0:00:01 1.1it/s v_num: 0.000 train_loss: 0.7\n";
    assert_eq!(all(log), expected("1:0.9 2:0.8 3:0.7", 3, Some(4)));
    assert_eq!(all("┏━━━━━━━━┓ 1/2 loss\n━━━━━━ 50% 0:00:01\n"), expected("", 0, None));
}

#[test]
fn keras() {
    let log = "Epoch 1/2\n\x1b[1m1/3\x1b[0m \x1b[32m━━\x1b[0m\x1b[37m━━━━\x1b[0m \x1b[1m2s\x1b[0m 1s/step - accuracy: 0.1 - loss: 2.5\
        \x08\x08\x08\r3/3 ━━━━━━ 2s 5ms/step - accuracy: 0.2 - loss: 2.25 - val_accuracy: 0.1 - val_loss: 2.4\n\
        Epoch 2/2\n3/3 ━━━━━━ 2s 5ms/step - loss: 2.0 - val_loss: 2.1\n1/1 ━━━━━━ 0s 5ms/step - loss: 9.0\n";
    assert_eq!(all(log), expected("1:2.5 3:2.25 6:2", 6, Some(6)));
    assert_eq!(short_of(read(log.as_bytes()).other(Measure::EvalLoss)), "3:2.4 6:2.1");
    let log = "Epoch 1/1\n 1/10 [==>...........................] - ETA: 1:23 - loss: 2.5\n\
               10/10 [==============================] - 2s - loss: 2.0\n";
    assert_eq!(all(log), expected("1:2.5 10:2", 10, Some(10)));
}

#[test]
fn other_bars_with_a_count_beside_them() {
    for line in [
        "Training |████████            | ▃▅▇ 2/10 [20%] in 1s (~4s, 2.1/s) loss: 0.5",
        " 20% (2 of 10) |######                            | ETA:   0:00:08 loss:    0.5",
        "Epoch 1/1 : |████████--------------------------------| 20.00% [2/10 00:01<00:04 loss: 0.5]",
        "loss: 0.5 [>>>>      ] 2/10, 5.0 task/s",
        "train [####----] 2/10 loss=0.5",
    ] {
        assert_eq!(all(&format!("{line}\r")), expected("2:0.5", 2, Some(10)), "{line}");
    }
    for line in ["| loss | 1/2 |", "|---| 1/2 loss", "[==] step", "a [#1] 2/1 loss 0"] {
        assert_eq!(all(&format!("{line}\n")), expected("", 0, None), "{line}");
    }
}

#[test]
fn lines_of_json_and_of_other_programs() {
    for (log, points) in [
        (
            "{\"train/loss\": 0.5, \"train/global_step\": 10}\n{\"train/loss\": 0.25, \"train/global_step\": 20}\n",
            "10:0.5 20:0.25",
        ),
        ("{\"epoch\": 1, \"loss\": \"5.5\", \"num_updates\": \"10\", \"gnorm\": \"1.2\"}\n", "10:5.5"),
        ("{\"iter\": 3, \"training_loss\": 1e-3}\n", "3:0.001"),
        (" iteration       10/     100 | learning rate: 1.5E-06 | lm loss: 1.04E+01 | loss scale: 1.0 |\n", "10:10.4"),
        ("Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.25\n", "640:2.25"),
        ("loss: 1.5  [   64/60000]\nloss: 1.25  [ 6464/60000]\n", "64:1.5 6464:1.25"),
        ("Iter(train) [  50/1000]  lr: 1.0e-03  loss: 0.5\n", "50:0.5"),
        ("step 1/3 train_loss_step=0.5\n", "1:0.5"),
    ] {
        assert_eq!(of(log).1, points, "{log}");
    }
}

#[test]
fn other_values_have_series_of_their_own() {
    let log = "Total optimization steps = 20\n\
        \r  0%|          | 0/20 [00:00<?, ?it/s]\r{'loss': 5.5, 'grad_norm': 0.53, 'learning_rate': 0.0001, 'epoch': 0.1}\n\
        \r 50%|█████     | 10/20 [00:00<00:00, 14.70it/s]\n{'eval_loss': 5.25, 'eval_runtime': 1.0, 'epoch': 0.1}\n\
        \r{'loss': 5.0, 'grad_norm': '0.5', 'learning_rate': '5e-05', 'epoch': 0.2}\n\
        \r100%|██████████| 20/20 [00:00<00:00, 14.70it/s]\n{'eval_loss': 4.75, 'epoch': 0.2}\n";
    let series = read(log.as_bytes());
    assert_eq!(short(&series), "10:5.5 20:5");
    assert_eq!(short_of(series.other(Measure::EvalLoss)), "10:5.25 20:4.75");
    assert_eq!(short_of(series.other(Measure::LearningRate)), "10:0.0001 20:0.00005");
    assert_eq!(short_of(series.other(Measure::GradientNorm)), "10:0.53 20:0.5");
    let series = read(b"step 1 loss=1 lr=1e-4 grad norm: 2 max_grad_norm=9\nstep 2 loss=1\nstep 2 val loss 3\n");
    assert_eq!(short_of(series.other(Measure::GradientNorm)), "1:2");
    assert_eq!(short_of(series.other(Measure::EvalLoss)), "2:3");
    // A second training replaces them, too.
    let again = read(b"step 1 loss=1 lr=1\nstep 2 loss=1 lr=2\nstep 1 loss=1\n");
    assert_eq!(short_of(again.other(Measure::LearningRate)), "1:1");
}

#[test]
fn what_is_no_number_is_told_although_the_trainer_prints_one() {
    let dicts = |norms: &[&str], loss: &str| {
        let line = |norm: &&str| format!("{{'loss': {loss}, 'grad_norm': {norm}, 'epoch': 0.1}}\n");
        let series = read(norms.iter().map(line).collect::<String>().as_bytes());
        (trend(&series), series.zero_for_nan_since)
    };
    assert_eq!(dicts(&["nan", "nan"], "0.0"), (Trend::NotANumber, Some(1)));
    assert_eq!(dicts(&["0.5", "0.0", "'nan'"], "0"), (Trend::NotANumber, Some(3)));
    assert_eq!(dicts(&["0.0", "0.0", "0.0"], "0.0"), (Trend::Zero, None));
    assert_eq!(dicts(&["nan", "inf", "nan"], "1.5"), (Trend::NotANumber, None));
    // With fp16, the first steps may be skipped.
    let healthy = [&["inf", "nan"][..], &["0.5"; 20]].concat();
    assert_eq!(dicts(&healthy, "1.5"), (Trend::Flat, None));
    assert_eq!(dicts(&["nan", "0.5", "0.5"], "0.0"), (Trend::Zero, None), "it has recovered");
    let bar = "train:  50%|█| 1/2 [00:01<00:01, 1s/it, loss=0, grad_norm=nan]\nstep 2/2 loss 0.0 ppl: nan\n";
    assert_eq!(read(bar.as_bytes()).zero_for_nan_since, Some(1));
    let eval = read(b"step 1 loss 0.0 val_loss nan\n");
    assert_eq!(trend(&eval), Trend::Zero, "an evaluation that fails is not the training");
}
