use crate::{Problem, Repository, Severity, lint};

const TAGS: &[u8] = include_bytes!("fixtures/tags.parquet");
const CHAT: &[u8] = include_bytes!("fixtures/polars.parquet");

/// Returns the beginning of a PNG of this size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &width, &height, b"\x08\x02\0\0\0"].concat()
}

/// Returns the problems that a config's data set has: rule, severity and message.
fn problems(path: &str, config: &str, files: &[(&str, Vec<u8>)]) -> Vec<(String, Severity, String)> {
    let texts = files.iter().map(|(path, bytes)| (*path, bytes.as_slice()));
    let repository = Repository::of(files.iter().map(|(path, _)| *path), texts);
    let linted = lint(path, config.as_bytes(), &repository).expect("a config");
    let data = linted.problems.into_iter().filter(|problem| problem.rule.starts_with("data-"));
    data.map(|Problem { rule, severity, message, .. }| (rule, severity, message)).collect()
}

/// Images in a folder, each with its caption.
fn captioned(folder: &'static str, sizes: &[(u32, u32)]) -> Vec<(&'static str, Vec<u8>)> {
    let name = |place: usize, end: &str| -> &'static str { format!("{folder}/{place}.{end}").leak() };
    let images = sizes.iter().enumerate().map(|(place, size)| (name(place, "png"), png(size.0, size.1)));
    let captions = (0..sizes.len()).map(|place| (name(place, "txt"), b"words".to_vec()));
    images.chain(captions).collect()
}

const ARGUMENTS: &str = "pretrained_model_name_or_path = \"m\"\nnetwork_module = \"networks.lora\"\ntrain_data_dir = \"d\"\n\
                         output_dir = \"out\"\nmax_train_epochs = 3\ncaption_extension = \".txt\"\n";

#[test]
fn sd_scripts_enlarges_or_cuts_or_stops() {
    let of = |settings: &str, sizes: &[(u32, u32)]| {
        problems("a.toml", &format!("{ARGUMENTS}{settings}"), &captioned("d/10_ink", sizes))
    };
    let buckets = "resolution = \"1024,1024\"\nenable_bucket = true\n";
    assert_eq!(of(buckets, &[(1024, 1024), (1200, 800), (512, 512), (2048, 512)]), []);
    let found = of(buckets, &[(1024, 1024), (100, 90), (4000, 200)]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].0.as_str(), found[0].1), ("data-sizes", Severity::Warning));
    let enlarged = "in d sd-scripts enlarges these images many times for the resolution 1024x1024: 10_ink/1.png (100x90, 10 \
                    times); replace";
    assert!(found[0].2.starts_with(enlarged), "{found:?}");
    assert!(found[1].2.contains("10_ink/2.png (4000x200, 80 % cut)"), "{found:?}");
    let found = of(&format!("{buckets}bucket_no_upscale = true\n"), &[(1024, 1024), (100, 90), (300, 40)]);
    assert!(
        found.len() == 1 && found[0].1 == Severity::Error && found[0].2.contains("10_ink/2.png (300x40)"),
        "{found:?}"
    );
    // The command line may turn buckets on, so nothing is cut for certain.
    assert_eq!(of("resolution = 512\n", &[(2048, 512), (512, 512)]), []);
    assert_eq!(of("resolution = 512\nenable_bucket = false\n", &[(2048, 512), (512, 512)]).len(), 1);
    assert_eq!(of("", &[(20, 20), (512, 512)]), [], "the resolution is not known");
}

#[test]
fn tiny_images_that_are_all_alike_stand_in_for_others() {
    let of = |settings: &str, sizes: &[(u32, u32)]| {
        problems("a.toml", &format!("{ARGUMENTS}resolution = 1024\n{settings}"), &captioned("d/10_ink", sizes))
    };
    assert_eq!(of("", &[(64, 64), (64, 64)]), []);
    assert_eq!(of("", &[(64, 64), (48, 64)]).len(), 1);
    assert_eq!(of("", &[(65, 65)]).len(), 1);
    let stopped = of("enable_bucket = true\nbucket_no_upscale = true\n", &[(32, 32), (32, 32)]);
    assert!(stopped.len() == 1 && stopped[0].1 == Severity::Error, "it stops there, too: {stopped:?}");
}

#[test]
fn a_data_set_of_sd_scripts_inherits_its_buckets() {
    let of = |general: &str, set: &str, arguments: &str| {
        let config = format!(
            "[general]\ncaption_extension = \".txt\"\n{general}[[datasets]]\n{set}[[datasets.subsets]]\nimage_dir = \"d\"\n"
        );
        let mut files = captioned("d", &[(200, 200), (800, 800)]);
        files.push(("run.toml", arguments.as_bytes().to_vec()));
        problems("sets.toml", &config, &files)
    };
    assert_eq!(of("resolution = 512\n", "", ""), []);
    assert_eq!(of("resolution = 512\n", "resolution = 1024\n", "").len(), 1);
    assert_eq!(of("resolution = 1024\nenable_bucket = true\nbucket_no_upscale = true\n", "", ""), []);
    let arguments = "dataset_config = \"sets.toml\"\nbucket_no_upscale = true\n";
    assert_eq!(of("resolution = 1024\nenable_bucket = true\n", "", arguments), []);
}

#[test]
fn the_other_trainers_keep_or_leave_out_small_images() {
    let of = |settings: &str| {
        let config = format!(
            "job: extension\nconfig:\n  name: ink\n  process:\n    - type: sd_trainer\n      datasets:\n        - folder_path: \
             d\n          caption_ext: txt\n{settings}      train: {{steps: 10}}\n"
        );
        problems("a.yaml", &config, &captioned("d", &[(1024, 1024), (200, 200)]))
    };
    let key = |text: &str| format!("          {text}\n");
    assert_eq!(of(&key("resolution: [512, 1024]")), [], "it suits 512");
    let found = of(&key("resolution: [768, 1024]"));
    assert!(
        found.len() == 1 && found[0].2.contains("in their own size, far below the resolution 768: 1.png"),
        "{found:?}"
    );
    assert_eq!(of(&(key("resolution: 1024") + &key("buckets: false"))), []);
    let loader = |settings: &str| {
        let set = format!(
            "[{{\"id\": \"a\", \"type\": \"local\", \"instance_data_dir\": \"d\", \"resolution\": 512{settings}}}]"
        );
        problems("multidatabackend.json", &set, &captioned("d", &[(1024, 1024), (200, 900), (300, 300)]))
    };
    assert_eq!(loader(""), []);
    let found = loader(", \"minimum_image_size\": 300, \"resolution_type\": \"pixel\"");
    assert!(
        found.len() == 1 && found[0].2.contains("leaves these images out because of minimum_image_size: 1.png"),
        "{found:?}"
    );
    let found =
        loader(", \"minimum_image_size\": 512, \"resolution_type\": \"pixel_area\", \"delete_unwanted_images\": true");
    assert!(
        found[0].2.contains("deletes these images because of minimum_image_size: 1.png (200x900), 2.png"),
        "{found:?}"
    );
    let found = loader(", \"minimum_aspect_ratio\": 0.5");
    assert!(found.len() == 1 && found[0].2.contains("minimum_aspect_ratio: 1.png"), "{found:?}");
}

#[test]
fn a_parquet_file_of_captions_has_the_columns_of_any_table() {
    let flat = "base_model: m\ntrain_data_dir: ./d\nmetadata_path: ./d/metadata.parquet\noutput_dir: out\nlora_rank: 4\n\
                epochs: 2\n";
    let of = |table: &[u8], images: usize| {
        let mut files = captioned("d", &vec![(512, 512); images]);
        files.push(("d/metadata.parquet", table.to_vec()));
        problems("a.yaml", flat, &files)
    };
    assert_eq!(of(TAGS, 2), []);
    let found = of(TAGS, 5);
    assert!(
        found.len() == 1 && found[0].2.contains("2 rows for 5 images in d: at least 3 images have none"),
        "{found:?}"
    );
    let found = of(CHAT, 1);
    assert!(found[0].2.contains("its columns are instruction, output, messages"), "{found:?}");
    assert_eq!((found[0].0.as_str(), found[0].1), ("data-columns", Severity::Warning));
    let found = of(&TAGS[..TAGS.len() - 1], 2);
    assert!(found[0].1 == Severity::Error && found[0].2.contains("is not a whole Parquet file"), "{found:?}");
    let found = of(b"version https://git-lfs.github.com/spec/v1\n", 2);
    assert!(found[0].0 == "data-lfs" && found[0].1 == Severity::Warning, "{found:?}");
}

#[test]
fn llama_factory_looks_its_columns_up_in_a_parquet_file() {
    let config =
        "model_name_or_path: m\nstage: sft\nfinetuning_type: lora\ndataset: mine\noutput_dir: out\ntemplate: qwen\n";
    let of = |set: &str| {
        let info = format!("{{\"mine\": {{\"file_name\": \"x.parquet\"{set}}}}}");
        let files = [("data/dataset_info.json", info.into_bytes()), ("data/x.parquet", CHAT.to_vec())];
        problems("a.yaml", config, &files)
    };
    let found = of("");
    assert!(found.len() == 1 && found[0].1 == Severity::Error, "{found:?}");
    assert!(
        found[0].2.contains("names data/x.parquet, which lacks the column input; its columns are instruction,"),
        "{found:?}"
    );
    assert_eq!(of(", \"columns\": {\"prompt\": \"instruction\", \"response\": \"output\"}"), []);
    let found = of(", \"columns\": {\"prompt\": \"instruction\", \"system\": \"rules\", \"response\": \"answer\"}");
    assert!(found[0].2.contains("the columns rules, answer"), "{found:?}");
    let found = of(", \"formatting\": \"sharegpt\"");
    assert!(found.len() == 1 && found[0].2.contains("the column conversations"), "{found:?}");
    assert_eq!(of(", \"formatting\": \"sharegpt\", \"columns\": {\"messages\": \"messages\"}"), []);
    assert_eq!(
        of(", \"formatting\": \"openai\", \"columns\": {\"messages\": \"messages\", \"system\": \"rules\"}"),
        []
    );
}

#[test]
fn axolotl_and_simpletuner_look_their_columns_up_in_a_parquet_file() {
    let of = |set: &str| {
        let config = format!(
            "base_model: m\nadapter: lora\nlearning_rate: 0.0002\nmicro_batch_size: 1\ndatasets:\n  - path: d/x.parquet\n{set}"
        );
        problems("a.yaml", &config, &[("d/x.parquet", CHAT.to_vec())])
    };
    for sound in [
        "    type: alpaca\n",
        "    type: chat_template\n",
        "    type: chat_template\n    field_messages: x\n    input_transform: mine.transform\n",
        "    type: completion\n    field: output\n",
        "    type: sharegpt\n",
        "    type: {field_instruction: other}\n",
    ] {
        assert_eq!(of(sound), [], "{sound}");
    }
    let found = of("    type: completion\n");
    assert!(found.len() == 1 && found[0].2.contains("d/x.parquet lacks the column text; its columns are"), "{found:?}");
    assert_eq!((found[0].0.as_str(), found[0].1), ("data-columns", Severity::Error));
    assert_eq!(of("    type: chat_template\n    field_messages: conversations\n").len(), 1);
    let loader = |columns: &str| {
        let set = format!(
            "[{{\"id\": \"a\", \"type\": \"local\", \"instance_data_dir\": \"images\", \"caption_strategy\": \"parquet\",
             \"metadata_backend\": \"parquet\", \"parquet\": {{\"path\": \"d/x.parquet\"{columns}}}}}]"
        );
        problems("multidatabackend.json", &set, &[("d/x.parquet", TAGS.to_vec())])
    };
    assert_eq!(loader(", \"filename_column\": \"file_name\", \"caption_column\": \"caption\""), []);
    assert_eq!(loader(", \"filename_column\": \"file_name\", \"caption_column\": [\"caption\", \"x\"]"), []);
    let found = loader(", \"filename_column\": \"id\", \"caption_column\": \"caption\"");
    assert!(found.len() == 1 && found[0].2.contains("lacks the column id"), "{found:?}");
}
