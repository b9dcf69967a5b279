//! The curve of a loss as a PNG, for readers that show no SVG.

use super::Point;

/// Size in pixels. Mails show it at half the size, so that it is sharp on dense screens.
pub const WIDTH: u32 = 1200;
pub const HEIGHT: u32 = 400;
/// Space around the curve, in pixels, and half the width of the line.
const MARGIN: f64 = 12.0;
const HALF: f64 = 2.5;
const PAPER: [u8; 3] = [255, 255, 255];
const FRAME: [u8; 3] = [208, 215, 222];
const INK: [u8; 3] = [47, 129, 247];

/// Draws the finite values of a series, from the lowest at the bottom to the highest at the top. Returns `None` if there
/// are fewer than two.
pub fn picture(points: &[Point]) -> Option<Vec<u8>> {
    let finite: Vec<Point> = points.iter().copied().filter(|point| point.value.is_finite()).collect();
    let [first, .., last] = finite.as_slice() else { return None };
    let (low, high) = finite
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (low.min(point.value), high.max(point.value)));
    // Halves, since the difference of two finite values may not be finite.
    let part = |value: f64, low: f64, high: f64| {
        if high > low { (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) } else { 0.5 }
    };
    let (width, height) = (f64::from(WIDTH) - 2.0 * MARGIN, f64::from(HEIGHT) - 2.0 * MARGIN);
    let place = |point: &Point| {
        let x = part(point.step as f64, first.step as f64, last.step as f64);
        (MARGIN + width * x, MARGIN + height * (1.0 - part(point.value, low, high)))
    };
    let mut canvas = Canvas { pixels: PAPER.repeat((WIDTH * HEIGHT) as usize) };
    canvas.frame();
    let places: Vec<(f64, f64)> = finite.iter().map(place).collect();
    places.windows(2).for_each(|pair| canvas.line(pair[0], pair[1]));
    encode(&canvas.pixels)
}

struct Canvas {
    pixels: Vec<u8>,
}

impl Canvas {
    fn frame(&mut self) {
        for x in 0..WIDTH {
            self.mix(x, 0, FRAME, 1.0);
            self.mix(x, HEIGHT - 1, FRAME, 1.0);
        }
        for y in 0..HEIGHT {
            self.mix(0, y, FRAME, 1.0);
            self.mix(WIDTH - 1, y, FRAME, 1.0);
        }
    }

    /// Draws a line with round ends: each pixel is as dark as the line is near.
    fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        let range = |a: f64, b: f64, most: u32| {
            let reach = HALF + 1.0;
            (a.min(b) - reach).max(0.0) as u32..((a.max(b) + reach).max(0.0) as u32 + 1).min(most)
        };
        for y in range(from.1, to.1, HEIGHT) {
            for x in range(from.0, to.0, WIDTH) {
                let distance = distance((f64::from(x) + 0.5, f64::from(y) + 0.5), from, to);
                self.mix(x, y, INK, (HALF + 0.5 - distance).clamp(0.0, 1.0));
            }
        }
    }

    fn mix(&mut self, x: u32, y: u32, colour: [u8; 3], part: f64) {
        let at = ((y * WIDTH + x) * 3) as usize;
        let Some(pixel) = self.pixels.get_mut(at..at + 3) else { return };
        for (old, new) in pixel.iter_mut().zip(colour) {
            *old = (f64::from(*old) * (1.0 - part) + f64::from(new) * part) as u8;
        }
    }
}

/// Returns the distance of a point from the line between two others.
fn distance(point: (f64, f64), from: (f64, f64), to: (f64, f64)) -> f64 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { ((point.0 - from.0) * dx + (point.1 - from.1) * dy) / length } else { 0.0 };
    let along = along.clamp(0.0, 1.0);
    (point.0 - from.0 - along * dx).hypot(point.1 - from.1 - along * dy)
}

fn encode(pixels: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels));
    written.ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(values: &[f64]) -> Option<Vec<u8>> {
        let points: Vec<Point> = values.iter().zip(1..).map(|(value, step)| Point { step, value: *value }).collect();
        let bytes = picture(&points)?;
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        assert_eq!((reader.info().width, reader.info().height), (WIDTH, HEIGHT));
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        reader.next_frame(&mut pixels).expect("pixels");
        Some(pixels)
    }

    fn is_ink(pixels: &[u8], x: u32, y: u32) -> bool {
        let at = ((y * WIDTH + x) * 3) as usize;
        pixels[at..at + 3] == INK
    }

    #[test]
    fn a_falling_loss_goes_from_the_upper_left_to_the_lower_right() {
        let pixels = drawn(&[1.0, 0.5, 0.0]).expect("a picture");
        assert!(is_ink(&pixels, 12, 12) && is_ink(&pixels, WIDTH / 2, HEIGHT / 2));
        assert!(is_ink(&pixels, WIDTH - 13, HEIGHT - 13) && !is_ink(&pixels, WIDTH - 13, 12));
    }

    #[test]
    fn strange_values_are_drawn_or_left_out() {
        assert!(drawn(&[]).is_none() && drawn(&[1.0]).is_none() && drawn(&[f64::NAN, 1.0]).is_none());
        let flat = drawn(&[0.0, 0.0]).expect("a picture");
        assert!(is_ink(&flat, WIDTH / 2, HEIGHT / 2));
        assert!(drawn(&[f64::MIN, f64::MAX, f64::INFINITY, 0.0]).is_some());
        assert!(drawn(&vec![0.5; 5000]).is_some());
    }
}
