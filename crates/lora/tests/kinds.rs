//! Kinds of slips that public bug reports tell of, each with a right file next to the wrong one.

mod support;

use trainyard_base::domain::Severity;
use trainyard_lora::{Repository, lint};

use support::{among, clean, one};

const ARGUMENTS: &str = "pretrained_model_name_or_path = \"models/sdxl.safetensors\"\ndataset_config = \"sets.toml\"\n\
                         output_dir = \"out\"\nnetwork_module = \"networks.lora\"\nnetwork_dim = 8\n";
const IMAGE: &str = "GIF89a";

#[test]
fn files_of_other_scripts_are_left_alone() {
    let tuning = "pretrained_model_name_or_path = \"m\"\ntrain_data_dir = \"d\"\nresolution = \"512\"\noutput_dir = \"o\"\n\
                  learning_rate_te1 = 1e-5\ntrain_text_encoder = true\nblock_lr = \"1e-5\"\n";
    clean("a.toml", &[("a.toml", tuning)]);
    let inversion = tuning.replace("block_lr = \"1e-5\"", "token_string = \"x\"\ninit_word = \"cat\"");
    clean("a.toml", &[("a.toml", &inversion)]);
    // With a network, the same keys are read by nothing.
    let lora = format!("{tuning}network_module = \"networks.lora\"\n");
    assert_eq!(among("a.toml", &[("a.toml", &lora)]).len(), 3);
}

#[test]
fn arguments_and_their_data_sets_belong_together() {
    let sets =
        "[general]\nenable_bucket = false\n[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = \"x\"\n";
    let of = |more: &str, general: &str| {
        let (arguments, sets) = (format!("{ARGUMENTS}{more}"), sets.replace("enable_bucket = false", general));
        among("a.toml", &[("a.toml", &arguments), ("sets.toml", &sets)])
    };
    assert_eq!(of("", "shuffle_caption = true"), []);
    assert_eq!(of("cache_latents = true\n", "flip_aug = true"), []);
    for (more, general) in [
        ("cache_latents = true\n", "color_aug = true"),
        ("cache_latents_to_disk = true\n", "random_crop = true"),
        ("cache_text_encoder_outputs = true\nnetwork_train_unet_only = true\n", "caption_tag_dropout_rate = 0.1"),
    ] {
        let found = of(more, general);
        let key = general.split(' ').next().unwrap();
        assert!(found.len() == 1 && found[0].2.contains(key) && found[0].1 == Some(6), "{general}: {found:?}");
    }
}

#[test]
fn data_sets_among_the_arguments_are_told_at_their_place() {
    let both = "pretrained_model_name_or_path = \"m\"\noutput_dir = \"o\"\nnetwork_module = \"networks.lora\"\n\
                [[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = \"d\"\n";
    one("a.toml", &[("a.toml", both)], Severity::Error, 4, "dataset_config");
}

#[test]
fn the_kind_of_a_subset_says_which_keys_it_takes() {
    let set = |subsets: &str| format!("[[datasets]]\nresolution = 512\n{subsets}");
    let meta = "[[datasets.subsets]]\nimage_dir = \"a\"\nmetadata_file = \"a.json\"\n";
    clean("a.toml", &[("a.toml", &set(meta))]);
    let refused = set(&format!("{meta}class_tokens = \"x\"\n"));
    one("a.toml", &[("a.toml", &refused)], Severity::Error, 6, "class_tokens");
    let mixed = set(&format!("{meta}[[datasets.subsets]]\nimage_dir = \"b\"\n"));
    one("a.toml", &[("a.toml", &mixed)], Severity::Error, 6, "metadata_file");
}

#[test]
fn captions_have_the_extension_that_is_inherited() {
    let of = |general: &str, set: &str, arguments: &str| {
        let text = format!(
            "[general]\n{general}\n[[datasets]]\nresolution = 512\n{set}\n[[datasets.subsets]]\nimage_dir = \"d\"\n"
        );
        let arguments = format!("{ARGUMENTS}{arguments}\n");
        among("sets.toml", &[("sets.toml", &text), ("d/1.png", IMAGE), ("d/1.tags", "x"), ("a.toml", &arguments)]).len()
    };
    assert_eq!(of("", "", ""), 1);
    assert_eq!(of("caption_extension = \".tags\"", "", ""), 0);
    assert_eq!(of("caption_extension = \".txt\"", "caption_extension = \".tags\"", ""), 0);
    assert_eq!(of("", "", "caption_extension = \".tags\""), 0);
    assert_eq!(of("", "", "caption_extension = \".txt\""), 1);
}

#[test]
fn a_folder_is_searched_as_its_trainer_does() {
    let set = "[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = \"d\"\nclass_tokens = \"x\"\n";
    let deep = [("a.toml", set), ("d/10_x/1.png", IMAGE), ("d/10_x/1.txt", "x")];
    one("a.toml", &deep, Severity::Error, 4, "finds no image in d");
    one("a.toml", &[("a.toml", set), ("d/1.tiff", IMAGE)], Severity::Error, 4, "does not read files with these ends");
    clean("a.toml", &[("a.toml", set), ("d/1.PNG", IMAGE), ("d/.ipynb_checkpoints/1-checkpoint.png", IMAGE)]);
    let toolkit = "job: extension\nconfig:\n  name: x\n  process:\n  - type: sd_trainer\n    training_folder: o\n    \
                   model: {name_or_path: m}\n    datasets:\n    - folder_path: d\n";
    clean("a.yaml", &[("a.yaml", toolkit), ("d/deep/1.Jpg", IMAGE), ("d/deep/1.txt", "x"), ("d/._1.jpg", "x")]);
    one("a.yaml", &[("a.yaml", toolkit), ("d/1.bmp", IMAGE)], Severity::Error, 9, "ai-toolkit finds no image");
}

#[test]
fn hidden_copies_are_told_where_they_are_trained() {
    let loader =
        "[{\"id\": \"a\", \"type\": \"local\", \"instance_data_dir\": \"d\", \"caption_strategy\": \"textfile\"}]";
    let files = |more: &'static str| [("m.json", loader), ("d/1.png", IMAGE), ("d/1.txt", "x"), (more, IMAGE)];
    clean("m.json", &files("d/.ipynb_checkpoints/1.png"));
    for hidden in ["d/._1.png", "d/.thumbnails/1.png"] {
        one("m.json", &files(hidden), Severity::Warning, 1, "hidden images in d");
    }
}

#[test]
fn a_data_loader_is_held_against_its_reader() {
    let of = |more: &str| {
        let text = format!("[{{\"id\": \"a\", \"type\": \"local\", \"instance_data_dir\": \"x\", {more}}}]");
        among("m.json", &[("m.json", &text)]).iter().map(|it| it.2.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("\"crop\": true, \"resolution\": 1, \"resolution_type\": \"area\""), Vec::<String>::new());
    for (more, about) in [
        ("\"crop\": \"true\"", "a string for crop"),
        ("\"resolution\": 1024, \"resolution_type\": \"area\"", "megapixels"),
        ("\"resolution\": 1, \"resolution_type\": \"pixel_area\"", "tiny"),
        ("\"crop_aspect\": \"closest\"", "crop_aspect_buckets"),
        ("\"caption_strategy\": \"huggingface\"", "needs type huggingface"),
    ] {
        let found = of(more);
        assert!(found.len() == 1 && found[0].contains(about), "{more}: {found:?}");
    }
}

#[test]
fn tables_of_lines_are_read_from_their_own_folder() {
    let config = "base_model: m\ntrain_data_dir: d\nmetadata_path: d/sub/metadata.jsonl\noutput_dir: o\nlora_rank: 4\n\
                  epochs: 1\n";
    let of =
        |table: &str| among("a.yaml", &[("a.yaml", config), ("d/sub/metadata.jsonl", table), ("d/sub/1.png", IMAGE)]);
    assert_eq!(of("{\"file_name\": \"1.png\", \"text\": \"x\"}\n"), []);
    assert!(of("{\"file_name\": \"sub/1.png\", \"text\": \"x\"}\n")[0].2.contains("not in d/sub: sub/1.png"));
    assert!(of("{\"file_name\": \"1.png\"}\n")[0].2.contains("no text in line 1"));
    assert!(of("{\"file_name\": \"1.png\", \"text\": \"x\"\n")[0].2.contains("line 1 of d/sub/metadata.jsonl is not"));
}

#[test]
fn the_data_sets_of_llama_factory_are_read_as_their_entries_say() {
    let config = "model_name_or_path: m\nstage: sft\ntemplate: llama3\noutput_dir: o\ndataset: mine\n";
    let of = |entry: &str| {
        let info = format!("{{\"mine\": {{{entry}}}}}");
        let files = [("a.yaml", config), ("data/dataset_info.json", info.as_str()), ("data/m.json", "[]")];
        among("a.yaml", &files).iter().map(|it| it.2.clone()).collect::<Vec<_>>()
    };
    let chat = "\"file_name\": \"m.json\", \"formatting\": \"sharegpt\", \"columns\": {\"messages\": \"m\"}";
    assert_eq!(of(chat), Vec::<String>::new());
    assert_eq!(of("\"hf_hub_url\": \"a/b\""), Vec::<String>::new());
    for (entry, about) in [
        (chat.replace("formatting", "formating"), "did you mean formatting?"),
        (chat.replace("\"messages\": ", "\"mesages\": "), "did you mean messages?"),
        (chat.replace("m.json", "n.json"), "names the file n.json"),
        (format!("{chat}, \"ranking\": true"), "ranking data set"),
        ("\"file_name\": \"m.json\", \"tags\": {\"role_tag\": \"r\"}".to_owned(), "only sharegpt reads"),
    ] {
        let found = of(&entry);
        assert!(found.iter().any(|message| message.contains(about)), "{entry}: {found:?}");
    }
}

#[test]
fn modules_are_names_in_a_list_and_a_pattern_in_a_string() {
    let of = |modules: &str| {
        let text = format!("{{\"peft_type\": \"LORA\", \"r\": 8, \"target_modules\": {modules}}}");
        among("adapter_config.json", &[("adapter_config.json", &text)]).len()
    };
    for right in ["[\"q_proj\", \"model.layers.0.v_proj\"]", "\".*(q|v)_proj\"", "\"all-linear\"", "null"] {
        assert_eq!(of(right), 0, "{right}");
    }
    for wrong in ["[\"q_proj\", \".*v_proj\"]", "\"q_proj,v_proj\"", "\"q_proj\"", "[\"layers.[0-9]+.q_proj\"]"] {
        assert_eq!(of(wrong), 1, "{wrong}");
    }
}

#[test]
fn files_that_no_loader_reads_are_told() {
    let told = |path: &str, text: &[u8]| {
        let linted = lint(path, text, &Repository::default()).expect("a config");
        linted.problems.into_iter().map(|problem| (problem.rule, problem.line)).collect::<Vec<_>>()
    };
    let marked = format!("\u{feff}{ARGUMENTS}");
    assert_eq!(told("a.toml", marked.as_bytes()), [("byte-order-mark".to_owned(), Some(1))]);
    let latin = [ARGUMENTS.as_bytes(), b"output_name = \"caf\xe9\"\n"].concat();
    assert_eq!(told("a.toml", &latin), [("not-utf8".to_owned(), Some(6))]);
    let list = "[{\"model_family\": \"flux\", \"model_type\": \"lora\"}]";
    assert_eq!(told("config.json", list.as_bytes()), [("wrong-type".to_owned(), Some(1))]);
    // YAML may begin with a mark.
    let yaml = "\u{feff}base_model: m\ndatasets: [{path: x}]\nlearning_rate: 0.1\nadapter: lora\nmicro_batch_size: 1\n\
                gradient_accumulation_steps: 1\n";
    assert_eq!(told("a.yml", yaml.as_bytes()), []);
}
