//! Small images with captions, in every form that image trainers read.

use super::File;

/// The captions, with the sides of their images in quarters of the requested side. Not all images are squares, so that
/// cropping and sorting by shape are exercised.
pub(crate) const IMAGES: [(&str, [u32; 2]); 4] = [
    ("a red gradient, smoke test", [4, 4]),
    ("a green gradient, wide, smoke test", [6, 4]),
    ("a blue gradient, tall, smoke test", [4, 5]),
    ("a grey gradient, large, smoke test", [5, 5]),
];

/// Returns the name of an image without its extension.
pub(crate) fn name(index: usize) -> String {
    format!("image_{:02}", index + 1)
}

/// Returns the images with their caption files. No side is smaller than `side`.
pub(crate) fn captioned(side: u32) -> Vec<File> {
    let all = |(index, (caption, parts)): (usize, &(&str, [u32; 2]))| {
        let name = name(index);
        let [width, height] = parts.map(|part| side * part / 4);
        [
            File::new(format!("{name}.png"), picture(index, width, height)),
            File::new(format!("{name}.txt"), format!("{caption}\n")),
            File::new(format!("{name}.caption"), format!("{caption}\n")),
        ]
    };
    IMAGES.iter().enumerate().flat_map(all).collect()
}

/// Returns the same files and a `metadata.csv`. Trainers do not agree on the names of its columns, so it has all of
/// them.
pub(crate) fn indexed(side: u32) -> Vec<File> {
    let mut table = "file_name,filename,prompt,caption,text\n".to_owned();
    for (index, (caption, _)) in IMAGES.iter().enumerate() {
        let name = name(index);
        table.push_str(&format!("{name}.png,{name}.png,\"{caption}\",\"{caption}\",\"{caption}\"\n"));
    }
    let mut files = captioned(side);
    files.push(File::new("metadata.csv", table));
    files
}

/// Draws a gradient of one colour as a PNG.
fn picture(index: usize, width: u32, height: u32) -> Vec<u8> {
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let bright = (x * 160 / width + y * 95 / height) as u8;
            let is_lit = |channel: usize| index == channel || index == 3;
            pixels.extend([0, 1, 2].map(|channel| if is_lit(channel) { 255 - bright } else { bright / 2 }));
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.expect("a picture of the size that its header tells, written to memory");
    bytes
}
