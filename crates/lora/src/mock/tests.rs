use std::collections::BTreeSet;

use super::*;
use crate::weights;

fn file(kind: Kind, path: &str) -> Vec<u8> {
    kind.files().into_iter().find(|file| file.path == path).expect("a file of the kind").bytes
}

#[test]
fn the_same_bytes_come_each_time_and_few_of_them() {
    for kind in Kind::ALL {
        let files = kind.files();
        assert_eq!(files, kind.files());
        let size: usize = files.iter().map(|file| file.bytes.len()).sum();
        assert!(!files.is_empty() && size < 3_000_000, "{} has {size} bytes", kind.name());
        let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths.len(), files.len(), "{}", kind.name());
    }
}

#[test]
fn weights_are_sound_files_of_weights() {
    for (kind, path, tensors) in [
        (Kind::StableDiffusion, "unet/diffusion_pytorch_model.safetensors", 682),
        (Kind::StableDiffusion, "text_encoder/model.safetensors", 196),
        (Kind::Llama, "model.safetensors", 21),
        (Kind::File, "model.safetensors", 2),
    ] {
        let report = weights::inspect(file(kind, path).as_slice()).expect("a file of weights");
        assert_eq!(report.tensors.len(), tensors, "{path}");
        let sound = report.tensors.iter().all(|tensor| tensor.stats.is_some_and(|stats| stats.norm.is_finite()));
        assert!(sound, "{path}");
    }
}

#[test]
fn tokenizers_have_a_word_for_every_byte() {
    let vocabulary: serde_json::Value =
        serde_json::from_slice(&file(Kind::StableDiffusion, "tokenizer/vocab.json")).expect("JSON");
    let words = vocabulary.as_object().expect("a map");
    assert_eq!(words.len(), clip::words());
    assert_eq!(words["<|startoftext|>"], clip::start());
    assert_eq!(words["<|endoftext|>"], clip::end());
    for byte in 0..=u8::MAX {
        let letter = clip::letter(byte);
        assert!(words.contains_key(&letter.to_string()) && words.contains_key(&format!("{letter}</w>")), "{byte}");
    }
    let tokenizer: serde_json::Value = serde_json::from_slice(&file(Kind::Llama, "tokenizer.json")).expect("JSON");
    assert_eq!(tokenizer["model"]["vocab"].as_object().expect("a map").len(), 256);
}

#[test]
fn images_are_pictures_of_several_shapes_with_captions() {
    let files = indexed(128);
    let mut shapes = BTreeSet::new();
    for image in files.iter().filter(|file| file.path.ends_with(".png")) {
        let decoder = png::Decoder::new(std::io::Cursor::new(&image.bytes));
        let mut reader = decoder.read_info().expect("a picture");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let frame = reader.next_frame(&mut pixels).expect("pixels");
        assert!(frame.width >= 128 && frame.height >= 128 && pixels.iter().collect::<BTreeSet<_>>().len() > 50);
        shapes.insert((frame.width, frame.height));
        let caption = image.path.replace(".png", ".txt");
        assert!(files.iter().any(|file| file.path == caption), "{caption}");
    }
    assert_eq!(shapes.len(), 4);
}

#[test]
fn words_that_a_config_wants_are_added_up_to_a_bound() {
    let wanted: Vec<String> = (0..500).map(|number| format!("<{number}>")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).chain(["<s>", ""]).collect();
    let files = llama(&wanted);
    let tokenizer = files.iter().find(|file| file.path == "tokenizer.json").expect("the tokenizer");
    let tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer.bytes).expect("JSON");
    assert_eq!(tokenizer["added_tokens"].as_array().expect("a list").len(), 76);
}
