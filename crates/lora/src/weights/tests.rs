use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Builds a file of F32 tensors from their names, shapes and numbers.
pub(super) fn file(tensors: &[(&str, &[u64], &[f32])], metadata: &Value) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), metadata.clone());
    let mut data = Vec::new();
    for (name, shape, numbers) in tensors {
        let begin = data.len();
        numbers.iter().for_each(|number| data.extend(number.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    with_header(&Value::Object(header).to_string(), &data)
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let length = header.len() as u64;
    [&length.to_le_bytes(), header.as_bytes(), data].concat()
}

fn module(up: &[f32], down: &[f32]) -> Vec<u8> {
    let name = "lora_unet_mid_block_attentions_0_proj_in";
    let names = [format!("{name}.lora_up.weight"), format!("{name}.lora_down.weight"), format!("{name}.alpha")];
    file(
        &[
            (&names[0], &[up.len() as u64 / 2, 2], up),
            (&names[1], &[2, down.len() as u64 / 2], down),
            (&names[2], &[], &[1.0]),
        ],
        &json!({}),
    )
}

fn report(file: &[u8]) -> Report {
    inspect(file).expect("weights")
}

fn rules(file: &[u8]) -> Vec<String> {
    report(file).problems().into_iter().map(|problem| problem.rule).collect()
}

#[test]
fn a_sound_module_has_its_facts() {
    let bytes = module(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 0.0, -1.0, 2.0, 1.0, 0.0]);
    let report = report(&bytes);
    let [module] = report.modules.as_slice() else { panic!("{report:?}") };
    assert_eq!((report.family, module.method, module.part), (Some(Family::Kohya), Method::Lora, "U-Net"));
    assert_eq!((module.rank, module.alpha, module.block.as_str()), (Some(2), Some(1.0), "mid_block_attentions_0"));
    // The squares of the product's elements add up to 526; alpha / rank is one half.
    let norm = module.norm.expect("a norm");
    assert!(report.norms_are_exact && (norm - 526f64.sqrt() / 2.0).abs() < 1e-9, "{norm}");
    assert_eq!(report.sha256, hex::encode(Sha256::digest(&bytes)));
    assert_eq!((report.bytes, report.parameters), (bytes.len() as u64, 13));
    let stats = report.tensors[0].stats.expect("stats");
    assert_eq!((stats.min, stats.max, stats.norm), (Some(1.0), Some(6.0), 91f64.sqrt()));
    assert_eq!(report.problems(), []);
}

#[test]
fn each_fault_has_its_rule() {
    let up = "u.lora_B.weight";
    let down = "u.lora_A.weight";
    let none = json!({});
    let two = [1.0, 2.0];
    for (tensors, metadata, rule) in [
        (vec![(up, &[2u64, 1][..], &[1.0, f32::NAN][..]), (down, &[1, 2], &two)], &none, "weights-nan"),
        (vec![(up, &[2, 1], &[f32::INFINITY, 1.0]), (down, &[1, 2], &two)], &none, "weights-nan"),
        (vec![(up, &[2, 1], &[0.0, -0.0]), (down, &[1, 2], &two)], &none, "weights-untrained"),
        (vec![(up, &[0], &[]), (down, &[0], &[])], &none, "weights-empty"),
        (vec![(up, &[2, 1], &two)], &none, "weights-unpaired"),
        (vec![(down, &[1, 2], &two)], &none, "weights-unpaired"),
        (vec![(up, &[1, 2], &two), (down, &[1, 2], &two)], &none, "weights-rank-mismatch"),
        (vec![(up, &[], &[1.0]), (down, &[1, 2], &two)], &none, "weights-rank-mismatch"),
        (vec![("model.layers.0.weight", &[2], &two)], &none, "weights-unknown"),
        (vec![], &none, "weights-empty"),
        (
            vec![("lora_a.lora_up.weight", &[2, 1], &two), ("lora_a.lora_down.weight", &[1, 2], &two)],
            &none,
            "weights-alpha",
        ),
        (
            vec![("module.a.lora_B.weight", &[2, 1], &two), ("module.a.lora_A.weight", &[1, 2], &two)],
            &none,
            "weights-names",
        ),
        (vec![("a.hada_w1_a", &[2, 1], &two), ("a.hada_w1_b", &[1, 2], &two)], &none, "weights-unpaired"),
        (
            vec![(up, &[2, 1], &two), (down, &[1, 2], &two)],
            &json!({"ss_sd_model_name": "/home/ada/base.safetensors"}),
            "weights-private-metadata",
        ),
        (
            vec![(up, &[2, 1], &two), (down, &[1, 2], &two)],
            &json!({"ss_network_dim": "8", "ss_network_module": "networks.lora"}),
            "weights-rank-mismatch",
        ),
        (
            vec![
                ("lora_a.lora_up.weight", &[2, 1], &two),
                ("lora_a.lora_down.weight", &[1, 2], &two),
                ("lora_a.alpha", &[], &[1.0]),
            ],
            &json!({"ss_network_dim": "1", "ss_network_alpha": "4.0", "ss_network_module": "networks.lora"}),
            "weights-alpha",
        ),
    ] {
        assert_eq!(rules(&file(&tensors, metadata)), [rule], "{tensors:?}");
    }
}

/// Builds a file with one module, whose alpha has this type and these bytes.
fn with_alpha(dtype: &str, alpha: &[u8]) -> Vec<u8> {
    let header = json!({
        "lora_a.lora_up.weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
        "lora_a.lora_down.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [8, 16]},
        "lora_a.alpha": {"dtype": dtype, "shape": [], "data_offsets": [16, 16 + alpha.len()]},
    });
    let numbers: Vec<u8> = [1_f32, 2.0, 1.0, -1.0].into_iter().flat_map(f32::to_le_bytes).collect();
    with_header(&header.to_string(), &[&numbers, alpha].concat())
}

#[test]
fn an_alpha_may_have_any_type() {
    for (dtype, alpha) in [
        ("F64", &1_f64.to_le_bytes()[..]),
        ("F32", &1_f32.to_le_bytes()),
        ("F16", &[0x00, 0x3c]),
        ("BF16", &[0x80, 0x3f]),
        ("F8_E4M3", &[0x38]),
        ("F8_E5M2", &[0x3c]),
        ("F8_E4M3FNUZ", &[0x40]),
        ("F8_E5M2FNUZ", &[0x40]),
        ("F8_E8M0", &[0x7f]),
        ("I64", &1_i64.to_le_bytes()),
        ("U64", &1_u64.to_le_bytes()),
        ("I32", &1_i32.to_le_bytes()),
        ("U32", &1_u32.to_le_bytes()),
        ("I16", &1_i16.to_le_bytes()),
        ("U16", &1_u16.to_le_bytes()),
        ("I8", &[1]),
        ("U8", &[1]),
    ] {
        let bytes = with_alpha(dtype, alpha);
        assert_eq!(report(&bytes).modules[0].alpha, Some(1.0), "{dtype}");
        assert_eq!(rules(&bytes), Vec::<String>::new(), "{dtype}");
    }
}

#[test]
fn an_alpha_that_is_no_number_is_reported() {
    for (dtype, alpha, rule) in [
        ("BF16", &[0xc0, 0x7f][..], "weights-nan"),
        ("F16", &[0x00, 0x7c], "weights-nan"),
        ("F16", &[0x00, 0x80], "weights-alpha"),
        ("I64", &[0; 8], "weights-alpha"),
        ("BOOL", &[1], "weights-alpha"),
    ] {
        assert_eq!(rules(&with_alpha(dtype, alpha)), [rule], "{dtype} {alpha:?}");
    }
}

#[test]
fn an_infinite_alpha_of_lokr_is_no_fault_where_it_is_not_used() {
    let (two, four, alpha) = ([1.0, 2.0], [1.0, 2.0, 3.0, 4.0], ("a.alpha", &[][..], &[f32::INFINITY][..]));
    let whole = [("a.lokr_w1", &[2u64, 2][..], &four[..]), ("a.lokr_w2", &[2, 2], &four), alpha];
    assert_eq!(rules(&file(&whole, &json!({}))), Vec::<String>::new());
    let product = [whole[0], ("a.lokr_w2_a", &[2, 1], &two), ("a.lokr_w2_b", &[1, 2], &two), alpha];
    assert_eq!(rules(&file(&product, &json!({}))), ["weights-nan"]);
    let broken = [whole[0], ("a.lokr_w2", &[2, 2], &[1.0, 2.0, 3.0, f32::INFINITY]), alpha];
    assert_eq!(rules(&file(&broken, &json!({}))), ["weights-nan"]);
}

#[test]
fn types_of_less_than_a_byte_are_counted() {
    let header = json!({
        "a.weight": {"dtype": "F4", "shape": [3, 10], "data_offsets": [0, 15]},
        "b.weight": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [15, 18]},
        "c.weight": {"dtype": "F4", "shape": [40_000], "data_offsets": [18, 20_018]},
    });
    let report = report(&with_header(&header.to_string(), &[7; 20_018]));
    assert_eq!((report.parameters, report.bytes), (40_034, 8 + header.to_string().len() as u64 + 20_018));
    assert!(report.tensors.iter().all(|tensor| tensor.stats.is_none()));
}

#[test]
fn a_file_without_tensors_says_so() {
    for header in ["{}", "{}      ", r#"{"__metadata__":{}}"#, r#"{"__metadata__":{"format":"pt"}}"#] {
        let problems = report(&with_header(header, &[])).problems();
        let [problem] = problems.as_slice() else { panic!("{header}: {problems:?}") };
        assert_eq!(problem.rule, "weights-empty", "{header}");
        assert!(problem.message.starts_with("this file contains no tensors"), "{header}: {}", problem.message);
    }
    assert!(refusal(&with_header(r#"{"__metadata__":{}}"#, b"x")).contains("extra bytes follow"));
}

#[test]
fn other_methods_are_whole_with_what_they_need() {
    let (two, four) = ([1.0, 2.0], [1.0, 2.0, 3.0, 4.0]);
    let alpha = ("a.alpha", &[][..], &[1.0][..]);
    for (tensors, method, norm) in [
        (
            vec![
                ("a.hada_w1_a", &[2u64, 1][..], &two[..]),
                ("a.hada_w1_b", &[1, 2], &two),
                ("a.hada_w2_a", &[2, 1], &two),
                ("a.hada_w2_b", &[1, 2], &two),
                alpha,
            ],
            Method::LoHa,
            25.0,
        ),
        (
            vec![("a.lokr_w1", &[2, 2], &four), ("a.lokr_w2_a", &[2, 1], &two), ("a.lokr_w2_b", &[1, 2], &two)],
            Method::LoKr,
            30f64.sqrt() * 5.0,
        ),
        (vec![("a.diff", &[4], &four)], Method::Full, 30f64.sqrt()),
        (vec![("a.weight", &[4], &four), ("a.on_input", &[1], &[1.0])], Method::Ia3, 30f64.sqrt()),
    ] {
        let report = report(&file(&tensors, &json!({})));
        let [module] = report.modules.as_slice() else { panic!("{report:?}") };
        assert_eq!((module.method, &module.missing), (method, &Vec::new()));
        assert!((module.norm.expect("a norm") - norm).abs() < 1e-9 && !report.norms_are_exact, "{module:?}");
        assert_eq!(report.problems(), []);
    }
}

#[test]
fn a_change_that_stands_out_is_told() {
    let names: Vec<String> = (0..9).flat_map(|n| ["A", "B"].map(|side| format!("m.{n}.lora_{side}.weight"))).collect();
    let large = [1000.0];
    let tensors: Vec<(&str, &[u64], &[f32])> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.as_str(), &[1, 1][..], if n == 5 { &large } else { &[1.0][..] }))
        .collect();
    let problems = report(&file(&tensors, &json!({}))).problems();
    assert_eq!((problems.len(), problems[0].key.as_deref()), (1, Some("m.2")), "{problems:?}");
}

#[test]
fn secrets_are_in_no_message_and_no_fact() {
    let token = format!("hf_{}", "a1".repeat(17));
    let bytes = file(&[], &json!({"note": token, &token: "x"}));
    let report = report(&bytes);
    assert!(report.problems().iter().any(|problem| problem.rule == "weights-private-metadata"));
    let told = json!({"report": report, "problems": report.problems()}).to_string();
    assert!(!told.contains(&token) && told.contains("[secret]"), "{told}");
    let refused = inspect(&*with_header(&json!({"__metadata__": token}).to_string(), &[])).expect_err("no map");
    assert!(!refused.to_string().contains(&token), "{refused}");
}

/// Returns the message for a file that cannot be read.
fn refusal(bytes: &[u8]) -> String {
    match inspect(bytes) {
        Err(error @ Error::Unreadable(_)) => error.problem().message,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn hostile_headers_are_refused_with_the_reason() {
    let tensor = |offsets: &str| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}"#);
    let (first, second) = (tensor("[0,4]"), tensor("[4,8]"));
    for (header, what) in [
        (format!(r#"{{"a":{first},"a":{second}}}"#), "a is given twice"),
        (format!(r#"{{"a":{first},"b":{first}}}"#), "b overlaps"),
        (format!(r#"{{"a":{second}}}"#), "4 bytes before the tensor a"),
        (format!(r#"{{"a":{}}}"#, tensor("[4,0]")), "ends before it begins"),
        (format!(r#"{{"a":{}}}"#, tensor("[0,8]")), "has 8 bytes, but [1] of F32 takes 4"),
        (format!(r#"{{"a":{}}}"#, tensor("[0,-4]")), "not in the safetensors format"),
        (format!(r#"{{"a":{}}}"#, tensor("[0]")), "not in the safetensors format"),
        (format!(r#"{{"a":{}}}"#, first.replace("[1]", "[9223372036854775807,4]")), "too large to be true"),
        (format!(r#"{{"a":{}}}"#, first.replace("[1]", "[1,1,1,1,1,1,1,1,1]")), "up to 8 sides"),
        (format!(r#"{{"a":{}}}"#, first.replace("F32", "F7")), "F7 is not a known type of numbers"),
        (format!(r#"{{"a":{}}}"#, first.replace("F32", "F4")), "does not end at a byte: [1] of F4 takes 4 bits"),
        (r#"{"__metadata__":{"a":1}}"#.to_owned(), "not in the safetensors format"),
        (r#"{"__metadata__":{"a":"","a":""}}"#.to_owned(), "__metadata__ is given twice"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(), "__metadata__ is given twice"),
        ("[]".to_owned(), "not in the safetensors format"),
        ("{".repeat(5000), "not in the safetensors format"),
    ] {
        let refusal = refusal(&with_header(&header, &[0; 8]));
        assert!(refusal.contains(what), "{header}: {refusal}");
    }
    let many: String = (0..=MAX_TENSORS).map(|n| format!(r#""{n}":{},"#, tensor("[0,4]"))).collect();
    assert!(refusal(&with_header(&format!("{{{many}"), &[])).contains("more than 100000 tensors"));
}

#[test]
fn what_is_no_safetensors_file_is_named() {
    for (bytes, what) in [
        (&b""[..], "empty"),
        (b"PK\x03\x04\x00\x00\x08\x08\x00\x00smoke/data.pkl", "pickle of torch.save"),
        (b"PK\x03\x04\x00\x00\x08\x08\x00\x00smoke/lora.safetensors", "a zip archive"),
        (b"\x93NUMPY\x01\x00", "array of NumPy"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x89PNG\r\n\x1a\n", "an image"),
        (b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0general.type", "2 tensors"),
        (b"\x80\x02}q\x00(X\x0a\x00\x00\x00", "Python pickle"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"  \n<HTML><body>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"{\"error\": \"Repository not found\"}", "JSON"),
        (b"Entry not found", "plain text"),
        (b"GGUF\x03\x00\x00\x00\x01\x00", "GGUF"),
        (b"\x1f\x8b\x08\x08\x12\x34\x56\x78", "gzip"),
        (&[0; 64], "zeros"),
        (&[1, 0, 0, 0, 0, 0, 0, 0], "its header should have 1 bytes"),
        (&[0xff; 64], "hostile"),
        (&[9, 0, 0], "only 3 bytes"),
        (&[9, 0, 0, 0, 0, 0, 0, 0, b'{'], "ends after 1"),
    ] {
        let refusal = refusal(bytes);
        assert!(refusal.contains(what), "{bytes:?}: {refusal}");
    }
    let whole = module(&[1.0, 2.0], &[1.0, 2.0]);
    assert!(refusal(&whole[..whole.len() - 5]).contains("cut off: 15 of 20 bytes"));
    assert!(refusal(&[whole.as_slice(), b"x"].concat()).contains("bytes follow"));
}

/// A file that is generated while it is read, with counts of what was read.
struct Made {
    header: Vec<u8>,
    length: u64,
    at: u64,
    largest: usize,
}

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.largest = self.largest.max(buffer.len());
        let count = usize::try_from(self.length - self.at).unwrap_or(usize::MAX).min(buffer.len());
        buffer[..count].fill(0x3c);
        let header = usize::try_from(self.at).ok().and_then(|at| self.header.get(at..)).unwrap_or_default();
        let beginning = header.len().min(count);
        buffer[..beginning].copy_from_slice(&header[..beginning]);
        self.at += count as u64;
        Ok(count)
    }
}

#[test]
fn a_large_file_passes_through_a_small_window() {
    let sides: u64 = 17 << 20;
    let data = sides * 2 * 2;
    let entry = |begin: u64, shape: [u64; 2]| json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, begin + data / 2]});
    let header = json!({
        "m.0.lora_A.weight": entry(0, [1, sides]),
        "m.0.lora_B.weight": entry(data / 2, [sides, 1]),
    });
    let header = with_header(&header.to_string(), &[]);
    let mut made = Made { length: header.len() as u64 + data, header, at: 0, largest: 0 };
    let report = inspect(&mut made).expect("weights");
    assert!(report.bytes > 64 << 20 && report.bytes == made.at, "all of it was read");
    assert!(made.largest <= 64 << 10, "{} bytes at once", made.largest);
    // The matrices are too large to be kept, so the norm is the upper bound.
    assert!(!report.norms_are_exact && report.modules[0].norm.is_some());
}

#[test]
fn a_header_that_promises_much_takes_no_more_than_there_is() {
    let mut made = Made { header: MAX_HEADER.to_le_bytes().to_vec(), length: 100, at: 0, largest: 0 };
    assert!(inspect(&mut made).expect_err("cut off").to_string().contains("ends after 92"));
    assert!(made.largest < 1 << 16, "{}", made.largest);
}

#[test]
fn a_file_is_compared_with_its_base() {
    let cursor = |up: &[f32], down: &[f32]| io::Cursor::new(module(up, down));
    let same = compare(cursor(&[1.0, 2.0], &[3.0, 4.0]), cursor(&[1.0, 2.0], &[3.0, 4.0])).expect("a comparison");
    let [module] = same.modules.as_slice() else { panic!("{same:?}") };
    assert_eq!((module.difference, module.cosine, module.norm), (0.0, Some(1.0), 30f64.sqrt()));
    let other = compare(cursor(&[1.0, 2.0], &[3.0, 4.0]), cursor(&[-1.0, -2.0], &[-3.0, -4.0])).expect("a comparison");
    assert_eq!((other.modules[0].difference, other.modules[0].cosine), (120f64.sqrt(), Some(-1.0)));
    let wider = compare(cursor(&[1.0, 2.0], &[3.0, 4.0]), cursor(&[1.0; 4], &[3.0, 4.0])).expect("a comparison");
    assert_eq!(wider.not_comparable, ["lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"]);
    let none = io::Cursor::new(file(&[], &json!({})));
    let none = compare(cursor(&[1.0, 2.0], &[3.0, 4.0]), none).expect("a comparison");
    assert_eq!((none.only_here.len(), none.only_in_base.len(), none.modules.len()), (3, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_change_of_a_file_panics(
        changes in prop::collection::vec((0usize..2000, any::<u8>()), 1..6),
        cut in prop::option::of(0usize..600),
    ) {
        let mut bytes = module(&[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, -1.0, 2.0]);
        let length = bytes.len();
        changes.iter().for_each(|(at, byte)| bytes[at % length] = *byte);
        bytes.truncate(cut.unwrap_or(length));
        match inspect(bytes.as_slice()) {
            Ok(report) => {
                prop_assert_eq!(report.bytes, bytes.len() as u64);
                prop_assert!(report.problems().iter().all(|problem| !problem.message.is_empty()));
                let base = module(&[1.0, 2.0], &[1.0, 0.0]);
                prop_assert!(compare(io::Cursor::new(&bytes), io::Cursor::new(base)).is_ok());
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
