use proptest::prelude::*;

use super::*;
use crate::domain::in_words;

fn whole(log: &[u8]) -> Vec<Op> {
    let mut renderer = Renderer::new(Checkpoint::begin(1), line_html);
    let mut ops = renderer.feed(log);
    ops.extend(renderer.finish());
    ops
}

/// Returns the ops in a short form: lines as their HTML, folds as `+name html` and `-`, durations as `line took`.
fn short(log: impl AsRef<[u8]>) -> Vec<String> {
    let word = |op| match op {
        Op::Line { text, .. } => text,
        Op::Open { name, text, .. } => format!("+{name} {text}"),
        Op::Close => "-".to_owned(),
        Op::Took { number, took } => format!("{number} {}", in_words(took)),
    };
    whole(log.as_ref()).into_iter().map(word).collect()
}

#[test]
fn colours_become_classes_and_text_is_escaped() {
    assert_eq!(
        short("\x1b[31;1mred <b>\x1b[0m & \x1b[38;5;196mx\x1b[m \x1b[38;2;0;0;0;44my\x1b[0m\n"),
        ["<span class=\"f1 b\">red &lt;b&gt;</span> &amp; <span class=\"f9\">x</span> <span class=\"f0 g4\">y</span>"]
    );
}

#[test]
fn a_terminal_gets_colours_and_nothing_else() {
    let log = b"\x1b[31;1mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b[38;5;12;44mblue\x1b[0m <b>\n";
    let on_terminal = |paint| {
        let mut renderer = Renderer::new(Checkpoint::begin(1), paint);
        match renderer.feed(log).pop() {
            Some(Op::Line { text, .. }) => text,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(on_terminal(line_coloured), "\x1b[1;31mred\x1b[0m \x1b[94;44mblue\x1b[0m <b>");
    assert_eq!(on_terminal(line_plain), "red blue <b>");
}

#[test]
fn a_colour_goes_on_over_a_line_end() {
    assert_eq!(short("\x1b[32ma\nb\x1b[0m\n"), ["<span class=\"f2\">a</span>", "<span class=\"f2\">b</span>"]);
}

#[test]
fn a_progress_bar_shows_its_last_state() {
    assert_eq!(short("\r 10%|#   |\r 50%|##  |\r100%|####| 5/5\ndone\r\n"), ["100%|####| 5/5", "done"]);
    assert_eq!(short("a long text\rshort\x1b[0K\n"), ["short"]);
    assert_eq!(short("abc\x08\x08X\n"), ["aXc"]);
}

#[test]
fn a_bar_of_a_million_updates_is_one_line() {
    let mut renderer = Renderer::new(Checkpoint::begin(1), line_html);
    assert_eq!(renderer.feed(b"epoch 1\n").len(), 1);
    for done in 0..1_000_000 {
        assert_eq!(renderer.feed(format!("\rsteps: |#  | {done}/1000000").as_bytes()), []);
    }
    assert_eq!(renderer.unfinished().as_deref(), Some("steps: |#  | 999999/1000000"));
    assert_eq!(renderer.checkpoint().lines(), 1);
    assert_eq!(renderer.feed(b"\n").len(), 1);
}

#[test]
fn returns_cost_what_is_written_and_not_what_stands_there() {
    // Otherwise each return would copy the long line, which takes minutes.
    let mut log = vec![b'x'; MAX_TOKEN];
    (0..1_000_000).for_each(|_| log.extend_from_slice(b"\ry"));
    log.extend_from_slice(b"\rtravis_fold:start:a\r\n");
    let lines = short(&log);
    assert_eq!(lines, [format!("y{}", "x".repeat(MAX_TOKEN - 1))], "the line comes back from under the mark");
    assert_eq!(short("ab\rc\x1b[0K\rdef\x1b[1K\rg\rtravis_fold:end:none\r\n"), ["g  "]);
}

#[test]
fn what_else_a_terminal_can_do_is_dropped() {
    let log = "\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07 \x1b[2J\x1b[10;10H\x1b(B\x1bPq#0\x1b\\ok\0\n";
    assert_eq!(short(log), ["link ok"]);
    assert_eq!(short("\x1b]0;swallows everything\nbut not the next line\n"), ["", "but not the next line"]);
    assert_eq!(short("curl \u{202e}evil\n"), ["curl \u{fffd}evil"]);
    assert_eq!(short(b"bad \xff utf-8\n"), ["bad \u{fffd} utf-8"]);
}

#[test]
fn marks_become_folds_and_durations() {
    let log = "travis_fold:start:install\r\x1b[0Ktravis_time:start:0a1b2c3d\r\x1b[0K$ pip install\n\
               Collecting torch\n\
               travis_time:end:0a1b2c3d:start=1,finish=2,duration=12000000000,event=install\r\x1b[0K\
               travis_fold:end:install\r\x1b[0Kall done\n";
    assert_eq!(short(log), ["+install $ pip install", "Collecting torch", "1 12 s", "-", "all done"]);
}

#[test]
fn output_without_a_line_end_stays_on_its_side_of_a_mark() {
    let log = "travis_fold:start:a\r\x1b[0K$ x\nno newlinetravis_fold:end:a\r\x1b[0Knext\n";
    assert_eq!(short(log), ["+a $ x", "no newline", "-", "next"]);
    // A progress bar that ends with a carriage return is not lost under the mark that overwrites it.
    assert_eq!(short("travis_fold:start:a\r\x1b[0K$ x\n100%\rtravis_fold:end:a\r\x1b[0K"), ["+a $ x", "100%", "-"]);
}

#[test]
fn marks_of_a_hostile_job_do_no_harm() {
    assert_eq!(short("travis_fold:end:none\r\ntravis_time:end:x:duration=1\r\n"), Vec::<String>::new());
    assert_eq!(short("travis_fold:start:<b>\n"), ["travis_fold:start:&lt;b&gt;"]);
    let deep: String = (0..100_000).map(|n| format!("travis_fold:start:f{n}\r\x1b[0Kx\n")).collect();
    let ops = whole(deep.as_bytes());
    assert_eq!(ops.iter().filter(|op| matches!(op, Op::Open { .. })).count(), MAX_DEPTH);
    let html = page_html(&ops);
    assert_eq!(html.matches("<details").count(), html.matches("</details>").count());
}

#[test]
fn a_huge_line_is_cut() {
    let line = vec![b'<'; 5_000_000];
    let ops = whole(&line);
    let [Op::Line { text: html, .. }] = &ops[..] else { panic!("not one line: {}", ops.len()) };
    assert!(html.len() < 100_000, "{} bytes", html.len());
    assert!(html.ends_with("the raw log has it whole</span>"));
}

#[test]
fn a_token_from_outside_is_checked() {
    let token = Checkpoint::begin(3).to_token();
    assert_eq!(Checkpoint::from_token(&token), Some(Checkpoint::begin(3)));
    let mut forged = Checkpoint::begin(1);
    forged.folds = vec![Fold { name: "\"><script>".into(), opened: true }];
    for token in [forged.to_token(), String::new(), "AAAA".to_owned(), "e30".to_owned(), "a".repeat(100_000)] {
        assert_eq!(Checkpoint::from_token(&token), None, "{token} was taken");
    }
}

/// Generates logs that are likely to cause problems: escapes, marks, carriage returns and broken UTF-8 between text.
fn nasty_log() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        3 => any::<Vec<u8>>(),
        4 => "[a-z<>&\"' é\t]{0,12}".prop_map(String::into_bytes),
        3 => Just(b"\n".to_vec()),
        2 => Just(b"\r".to_vec()),
        2 => prop::sample::select(vec!["\x1b[0K", "\x1b[31m", "\x1b[0m", "\x1b[38;5;200m", "\x1b[2K", "\x1b]0;", "\x1b[1K", "\x1bP"])
            .prop_map(|text| text.as_bytes().to_vec()),
        3 => prop::sample::select(vec![
            "travis_fold:start:a\r", "travis_fold:start:b\r", "travis_fold:end:a\r\x1b[0K", "travis_fold:end:b\r",
            "travis_time:start:t\r", "travis_time:end:t:start=1,finish=2,duration=1000000,event=x\r",
        ]).prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// Returns true if every `<` of the output begins a tag of ours.
fn only_our_tags(html: &str) -> bool {
    let ours = [
        "span class=\"",
        "/span>",
        "a href=\"#L",
        "/a>",
        "code>",
        "/code>",
        "i>",
        "/i>",
        "details data-fold=\"",
        "/details>",
        "summary>",
        "/summary>",
    ];
    html.split('<').skip(1).all(|rest| ours.iter().any(|tag| rest.starts_with(tag)))
}

proptest! {
    #[test]
    fn never_panics_and_escapes_everything(log in nasty_log()) {
        let ops = whole(&log);
        prop_assert!(only_our_tags(&page_html(&ops)));
        let steps = event_html(&ops);
        for step in steps.as_array().into_iter().flatten() {
            prop_assert!(only_our_tags(step[1].as_str().unwrap_or_default()));
        }
    }

    #[test]
    fn pieces_and_resumes_give_the_same_as_the_whole(log in nasty_log(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(log.len() + 1)).collect();
        cuts.sort_unstable();
        let mut renderer = Renderer::new(Checkpoint::begin(1), line_html);
        let mut ops = Vec::new();
        let mut at = 0;
        for cut in cuts.iter().copied().chain([log.len()]) {
            ops.extend(renderer.feed(&log[at..cut]));
            at = cut;
        }
        ops.extend(renderer.finish());
        prop_assert_eq!(&ops, &whole(&log));

        // The connection breaks at each cut, and the reader comes back with the last token.
        let mut token = Checkpoint::begin(1).to_token();
        let mut ops = Vec::new();
        for cut in cuts {
            let checkpoint = Checkpoint::from_token(&token).expect("our own token");
            let from = usize::try_from(checkpoint.offset()).expect("small");
            if from <= cut {
                let mut renderer = Renderer::new(checkpoint, line_html);
                ops.extend(renderer.feed(&log[from..cut]));
                token = renderer.checkpoint().to_token();
            }
        }
        let checkpoint = Checkpoint::from_token(&token).expect("our own token");
        let from = usize::try_from(checkpoint.offset()).expect("small");
        let mut renderer = Renderer::new(checkpoint, line_html);
        ops.extend(renderer.feed(&log[from..]));
        ops.extend(renderer.finish());
        prop_assert_eq!(&ops, &whole(&log));
    }
}
