//! The choice of a commit's files that a plan is made of, bounded in number and size.

use super::{CONFIG, READ_AT_MOST, SourceFile, bytes_wanted, is_data, wants};
use crate::lora;

/// Maximum number of files that are read for training configs: a repository may have millions.
const MAX_FILES: usize = 2000;
/// Maximum number of bytes of these files together, and of the images among them. Git reads each image as a whole.
const MAX_BYTES: u64 = 32 << 20;
const MAX_IMAGE_BYTES: u64 = 8 << 20;

/// The files of a commit that a plan wants to see, each as its tree lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources<F> {
    /// The files to read.
    pub readable: Vec<F>,
    /// Paths of files that are too large to be read. The plan reports them by their length alone.
    too_large: Vec<String>,
}

impl<F> Sources<F> {
    /// Chooses from a commit's files. `facts` returns the path and the size of a file in bytes.
    pub fn of(tree: impl IntoIterator<Item = F>, facts: impl Fn(&F) -> (&str, u64)) -> Self {
        let is_wanted = |file: &F| {
            let (path, size) = facts(file);
            wants(path, size)
        };
        let mut chosen: Vec<F> = tree.into_iter().filter(is_wanted).collect();
        // The file that decides everything is never among those that are left out, and of the images the small ones are
        // those that may not suit a training.
        chosen.sort_by_key(|file| {
            let (path, size) = facts(file);
            let is_image = lora::is_image(path);
            // Tables come after configs, and files with command lines between them.
            let rank = if is_data(path, size) { 2 } else { u8::from(!is_config(path)) };
            (path != CONFIG, is_image, rank, if is_image { size } else { 0 })
        });
        chosen.truncate(MAX_FILES);
        let (mut bytes, mut of_images) = (0, 0);
        chosen.retain(|file| {
            let (path, size) = facts(file);
            let size = size.min(READ_AT_MOST as u64);
            bytes += size;
            of_images += if lora::is_image(path) { size } else { 0 };
            bytes <= MAX_BYTES && of_images <= MAX_IMAGE_BYTES
        });
        let (readable, too_large): (Vec<F>, Vec<F>) =
            chosen.into_iter().partition(|file| facts(file).1 < READ_AT_MOST as u64);
        Self { readable, too_large: too_large.iter().map(|file| facts(file).0.to_owned()).collect() }
    }

    /// Returns the files with their contents. `texts` holds those of the readable files, in their order.
    pub fn with_texts(self, texts: Vec<Vec<u8>>, path: impl Fn(F) -> String) -> Vec<SourceFile> {
        let read = self.readable.into_iter().zip(texts).map(|(file, mut text)| {
            let path = path(file);
            text.truncate(bytes_wanted(&path));
            SourceFile { path, text }
        });
        let unread = self.too_large.into_iter().map(|path| SourceFile { path, text: vec![b' '; READ_AT_MOST] });
        read.chain(unread).collect()
    }
}

/// Returns true for what may be a training config. Scripts and pages come after these.
fn is_config(path: &str) -> bool {
    [".yaml", ".yml", ".toml", ".json"].iter().any(|end| path.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(tree: impl IntoIterator<Item = (&'a str, u64)>) -> Sources<(&'a str, u64)> {
        Sources::of(tree, |(path, size)| (path, *size))
    }

    #[test]
    fn configs_are_read_and_other_files_are_not() {
        let sources = chosen([("a.png", 9), ("a.sh", 10), ("b.yaml", 10), ("train.py", 10), (CONFIG, 5)]);
        assert_eq!(sources.readable, [(CONFIG, 5), ("b.yaml", 10), ("a.sh", 10), ("a.png", 9)]);
        let files = sources
            .with_texts(vec![b"a".to_vec(), b"b".to_vec(), b"s".to_vec(), b"c".to_vec()], |(path, _)| path.to_owned());
        let files: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.text.as_slice())).collect();
        assert_eq!(files, [(CONFIG, &b"a"[..]), ("b.yaml", b"b"), ("a.sh", b"s"), ("a.png", b"c")]);
    }

    #[test]
    fn configs_come_before_tables_and_small_images_before_large_ones() {
        let tree = [("a.png", 900_000), ("b.png", 90), ("c.parquet", 10), ("d.yaml", 10), ("e.parquet", 2_000_000)];
        let sources = chosen(tree);
        assert_eq!(sources.readable.iter().map(|(path, _)| *path).collect::<String>(), "d.yamlc.parquetb.pnga.png");
        let texts = vec![vec![0; 10], vec![0; 10], vec![0; 90], vec![0; 900_000]];
        let files = sources.with_texts(texts, |(path, _)| path.to_owned());
        assert_eq!(files[3].text.len(), bytes_wanted("a.png"), "the beginning tells the size");
    }

    #[test]
    fn a_travis_yml_that_is_too_large_is_known_by_its_length_alone() {
        let sources = chosen([(CONFIG, READ_AT_MOST as u64), ("a.yaml", 1)]);
        assert_eq!(sources.readable, [("a.yaml", 1)]);
        let files = sources.with_texts(vec![Vec::new()], |(path, _)| path.to_owned());
        assert_eq!(files.iter().map(|file| file.text.len()).collect::<Vec<_>>(), [0, READ_AT_MOST]);
    }

    #[test]
    fn the_number_of_files_and_their_bytes_have_a_bound_that_spares_the_travis_yml() {
        let names: Vec<String> = (0..3 * MAX_FILES).map(|n| format!("{n}.yaml")).collect();
        let many = |size| names.iter().map(move |name| (name.as_str(), size)).chain([(CONFIG, 5)]);
        assert_eq!(chosen(many(1)).readable.len(), MAX_FILES);
        let size = 100_000;
        let few = chosen(many(size)).readable;
        assert_eq!((few.len() as u64, few[0].0), (1 + (MAX_BYTES - 5) / size, CONFIG));
        let images: Vec<String> = (0..100).map(|n| format!("{n}.png")).collect();
        let few = chosen(images.iter().map(|name| (name.as_str(), 1 << 19)).chain([("a.yaml", 5)])).readable;
        assert_eq!((few.len(), few[0].0), (17, "a.yaml"), "8 MiB of images");
    }
}
