use std::collections::BTreeSet;

use super::*;
use crate::weights;

fn file(kind: Kind, path: &str) -> Vec<u8> {
    kind.files().into_iter().find(|file| file.path == path).expect("a file of the kind").bytes
}

#[test]
fn the_same_bytes_come_each_time_and_few_of_them() {
    for kind in Kind::all() {
        let files = kind.files();
        assert_eq!(files, kind.files());
        let size: usize = files.iter().map(|file| file.bytes.len()).sum();
        assert!(!files.is_empty() && size < 8_000_000, "{} has {size} bytes", kind.name());
        let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths.len(), files.len(), "{}", kind.name());
    }
}

#[test]
fn weights_are_sound_files_of_weights() {
    for (kind, path, tensors) in [
        (Kind::Model(Model::StableDiffusion), "unet/diffusion_pytorch_model.safetensors", 682),
        (Kind::Model(Model::StableDiffusion), "text_encoder/model.safetensors", 196),
        (Kind::Model(Model::Sdxl), "unet/diffusion_pytorch_model.safetensors", 1680),
        (Kind::Model(Model::Flux), "text_encoder/model.safetensors", 196),
        (Kind::Model(Model::Llama), "model.safetensors", 21),
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
        serde_json::from_slice(&file(Kind::Model(Model::StableDiffusion), "tokenizer/vocab.json")).expect("JSON");
    let words = vocabulary.as_object().expect("a map");
    // The configs of the text encoders name these.
    assert_eq!((words.len(), &words["<|startoftext|>"], &words["<|endoftext|>"]), (526, &524.into(), &525.into()));
    for byte in 0..=u8::MAX {
        let letter = tokenizer::letter(byte);
        assert!(words.contains_key(&letter.to_string()) && words.contains_key(&format!("{letter}</w>")), "{byte}");
    }
    let tokenizer: serde_json::Value =
        serde_json::from_slice(&file(Kind::Model(Model::Llama), "tokenizer.json")).expect("JSON");
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
    let files = Model::Llama.files(&wanted);
    let tokenizer = files.iter().find(|file| file.path == "tokenizer.json").expect("the tokenizer");
    let tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer.bytes).expect("JSON");
    assert_eq!(tokenizer["added_tokens"].as_array().expect("a list").len(), 22 + 64);
}

#[test]
fn each_part_of_a_pipeline_is_where_its_index_says() {
    for model in Model::ALL {
        let files = model.files(&[]);
        let json = |path: &str| -> Option<serde_json::Value> {
            let file = files.iter().find(|file| file.path == path)?;
            Some(serde_json::from_slice(&file.bytes).expect("JSON"))
        };
        let Some(index) = json("model_index.json") else {
            assert!(json("config.json").is_some() && json("tokenizer.json").is_some(), "{}", model.name());
            continue;
        };
        let parts = index.as_object().expect("a map").iter().filter(|(_, value)| value[1].is_string());
        for (folder, value) in parts.clone() {
            let class = value[1].as_str().expect("a class");
            let config = match folder.split('_').next().expect("a word") {
                "tokenizer" => "tokenizer_config.json",
                "scheduler" => "scheduler_config.json",
                _ => "config.json",
            };
            let config = json(&format!("{folder}/{config}")).unwrap_or_else(|| panic!("{} {folder}", model.name()));
            let named = [&config["_class_name"], &config["architectures"][0], &config["tokenizer_class"]];
            assert!(named.iter().any(|name| *name == class), "{} {folder}: {class}", model.name());
        }
        assert!(parts.count() >= 5, "{}", model.name());
    }
}
