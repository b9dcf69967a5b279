//! The fate of an image by its size: enlarged, cut, left out, or refused. As in sd-scripts at 48d368fa
//! (`library/train_util.py`, `library/model_util.py`), ai-toolkit at 27a03a91 (`toolkit/buckets.py`,
//! `toolkit/dataloader_mixins.py`), and SimpleTuner at bc8e6ab77 (`helpers/metadata/backends/base.py`).

use super::image_size::Size;

/// The factor from which on an enlargement ruins an image.
const RUINED: f64 = 3.0;
/// The part of an image from which on a cut is not what its author meant. The square of a film's picture, 21:9, is less.
const MOSTLY_CUT: f64 = 0.58;
/// Bounds of the buckets that are computed, so that no config costs much.
const LARGEST_BUCKET: u32 = 1 << 14;
const MOST_BUCKETS: u32 = 1 << 10;
/// The distance from a limit of shapes at which an image surely lies beyond it, since SimpleTuner rounds.
const SURELY: f64 = 1.05;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Fine,
    /// Enlarged so many times.
    Enlarged(f64),
    /// Such a part of it is cut away.
    Cut(f64),
    /// Trained in its own size, far below the resolution.
    Small,
    /// Left out because of this key.
    LeftOut(&'static str),
    /// The trainer stops.
    Refused,
}

/// Settings of sd-scripts.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    pub(super) resolution: (u32, u32),
    /// `None` when the command line decides whether there are buckets.
    pub(super) enabled: Option<bool>,
    pub(super) no_upscale: bool,
    pub(super) smallest: u32,
    pub(super) largest: u32,
    pub(super) steps: u32,
}

impl Buckets {
    /// Returns the sizes of the buckets. Without buckets there is one.
    fn sizes(&self) -> Vec<Size> {
        let (width, height) = self.resolution;
        if self.enabled == Some(false) {
            return vec![Size { width, height }];
        }
        let steps = self.steps.max(1);
        let (smallest, largest) = (self.smallest - self.smallest % steps, self.largest.next_multiple_of(steps));
        let area = u64::from(width) * u64::from(height);
        let square = u32::try_from(area.isqrt()).unwrap_or(u32::MAX);
        let square = square - square % steps;
        let mut sizes = vec![Size { width: square, height: square }];
        for width in
            (smallest.max(steps)..=largest.min(LARGEST_BUCKET)).step_by(steps as usize).take(MOST_BUCKETS as usize)
        {
            let height = u32::try_from(area / u64::from(width)).unwrap_or(u32::MAX);
            let height = (height - height % steps).min(largest);
            if height >= smallest {
                sizes.extend([Size { width, height }, Size { width: height, height: width }]);
            }
        }
        sizes.retain(|size| size.width > 0 && size.height > 0);
        sizes
    }

    pub(super) fn fate(&self, image: Size) -> Fate {
        if self.enabled == Some(true) && self.no_upscale {
            return if self.has_empty_bucket(image) { Fate::Refused } else { Fate::Fine };
        }
        let shape = |size: &Size| f64::from(size.width) / f64::from(size.height);
        let distance = |size: &Size| (shape(size) - shape(&image)).abs();
        let sizes = self.sizes();
        let nearest = sizes.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        match nearest {
            Some(nearest) if !sizes.contains(&image) => covered(image, *nearest, self.enabled.is_some()),
            _ => Fate::Fine,
        }
    }

    /// Returns true if the bucket of an image that is not enlarged has a side of 0: then sd-scripts divides by it, or
    /// encodes an image without pixels.
    fn has_empty_bucket(&self, image: Size) -> bool {
        let (width, height, steps) = (f64::from(image.width), f64::from(image.height), f64::from(self.steps.max(1)));
        let most = f64::from(self.resolution.0) * f64::from(self.resolution.1);
        let scale = (most / image.area()).sqrt().min(1.0);
        width * scale + 0.5 < steps || height * scale + 0.5 < steps
    }
}

/// Returns the fate of an image that is scaled until it covers a bucket, and then cut.
fn covered(image: Size, bucket: Size, is_cut_known: bool) -> Fate {
    let (across, down) =
        (f64::from(bucket.width) / f64::from(image.width), f64::from(bucket.height) / f64::from(image.height));
    let scale = across.max(down);
    let cut = 1.0 - across.min(down) / scale;
    if scale >= RUINED {
        Fate::Enlarged(scale)
    } else if is_cut_known && cut >= MOSTLY_CUT {
        Fate::Cut(cut)
    } else {
        Fate::Fine
    }
}

/// Settings of ai-toolkit.
#[derive(Debug, Clone)]
pub(super) struct OwnBuckets {
    pub(super) resolution: u32,
    pub(super) tolerance: u32,
    pub(super) square_crop: bool,
}

impl OwnBuckets {
    pub(super) fn fate(&self, image: Size) -> Fate {
        let resolution = self.resolution;
        if self.square_crop {
            return covered(image, Size { width: resolution, height: resolution }, true);
        }
        match covered(image, self.bucket(image), true) {
            Fate::Fine if image.area().sqrt() * RUINED <= f64::from(resolution) => Fate::Small,
            fate => fate,
        }
    }

    /// Returns the bucket of an image: its own size, or the resolution's area in its shape, in steps of the tolerance.
    fn bucket(&self, image: Size) -> Size {
        let steps = f64::from(self.tolerance.max(1));
        let most = f64::from(self.resolution) * f64::from(self.resolution);
        let area = image.area().min(most);
        let scale = (area / image.area()).sqrt();
        let (across, down) = (f64::from(image.width) * scale / steps, f64::from(image.height) * scale / steps);
        let candidates = [
            (across.floor(), down.floor()),
            (across.floor(), down.ceil()),
            (across.ceil(), down.floor()),
            (across.ceil(), down.ceil()),
        ];
        let candidates = candidates.map(|(across, down)| (across * steps, down * steps));
        let fits = |(width, height): &(f64, f64)| *width > 0.0 && *height > 0.0 && width * height <= most;
        let distance = |(width, height): &(f64, f64)| (width * height - area).abs();
        let nearest = candidates.into_iter().filter(fits).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let (width, height) = nearest.unwrap_or((steps.max(across.floor() * steps), steps.max(down.floor() * steps)));
        Size { width: width as u32, height: height as u32 }
    }
}

/// Settings of SimpleTuner's data loader.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    /// The least size, of the shorter side in pixels.
    pub(super) least_side: Option<f64>,
    /// The least size, of the area in pixels.
    pub(super) least_area: Option<f64>,
    /// The least and the greatest width in relation to the height.
    pub(super) narrowest: Option<f64>,
    pub(super) widest: Option<f64>,
}

impl Limits {
    pub(super) fn fate(&self, image: Size) -> Fate {
        let side = f64::from(image.width.min(image.height));
        let shape = f64::from(image.width) / f64::from(image.height);
        if self.least_side.is_some_and(|least| side < least)
            || self.least_area.is_some_and(|least| image.area() < least)
        {
            Fate::LeftOut("minimum_image_size")
        } else if self.narrowest.is_some_and(|narrowest| shape * SURELY < narrowest) {
            Fate::LeftOut("minimum_aspect_ratio")
        } else if self.widest.is_some_and(|widest| shape > widest * SURELY) {
            Fate::LeftOut("maximum_aspect_ratio")
        } else {
            Fate::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    const USUAL: Buckets = Buckets {
        resolution: (512, 512),
        enabled: Some(true),
        no_upscale: false,
        smallest: 256,
        largest: 1024,
        steps: 64,
    };

    #[test]
    fn the_buckets_are_those_of_sd_scripts() {
        let mut sizes: Vec<(u32, u32)> = USUAL.sizes().iter().map(|size| (size.width, size.height)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let narrow = [
            (256, 832),
            (256, 896),
            (256, 960),
            (256, 1024),
            (320, 704),
            (320, 768),
            (384, 640),
            (448, 576),
            (512, 512),
        ];
        let wide = narrow.iter().take(8).map(|(width, height)| (*height, *width));
        let mut wanted: Vec<(u32, u32)> = narrow.iter().copied().chain(wide).collect();
        wanted.sort_unstable();
        assert_eq!(sizes, wanted);
    }

    #[test]
    fn small_images_are_enlarged_and_long_ones_are_cut() {
        assert_eq!(USUAL.fate(size(48, 64)), Fate::Enlarged(448.0 / 48.0));
        assert_eq!(USUAL.fate(size(170, 170)), Fate::Enlarged(512.0 / 170.0));
        for fine in [(171, 171), (512, 512), (256, 1024), (4000, 3000), (1000, 250), (1024, 200)] {
            assert_eq!(USUAL.fate(size(fine.0, fine.1)), Fate::Fine, "{fine:?}");
        }
        assert!(matches!(USUAL.fate(size(4000, 250)), Fate::Cut(cut) if (cut - 0.75).abs() < 1e-9));
        let square = Buckets { enabled: Some(false), ..USUAL };
        assert_eq!(square.fate(size(2100, 900)), Fate::Fine, "photos are cut to squares, which is usual");
        assert!(matches!(square.fate(size(2048, 512)), Fate::Cut(cut) if (cut - 0.75).abs() < 1e-9));
        let unknown = Buckets { enabled: None, ..USUAL };
        assert_eq!(unknown.fate(size(4000, 250)), Fate::Fine);
        assert!(matches!(unknown.fate(size(64, 64)), Fate::Enlarged(_)));
    }

    #[test]
    fn without_enlarging_only_a_side_below_the_steps_is_refused() {
        let own = Buckets { no_upscale: true, ..USUAL };
        for (image, fate) in [
            (size(64, 64), Fate::Fine),
            (size(63, 400), Fate::Refused),
            (size(400, 20), Fate::Refused),
            (size(20_000, 640), Fate::Fine),
            (size(20_000, 100), Fate::Refused),
        ] {
            assert_eq!(own.fate(image), fate, "{image}");
        }
        assert_eq!(Buckets { enabled: Some(false), ..own }.fate(size(400, 300)), Fate::Fine, "there are no buckets");
    }

    #[test]
    fn no_setting_costs_much_or_divides_by_zero() {
        for smallest in [0, 1, 64, u32::MAX] {
            for largest in [0, 1, 1 << 20, u32::MAX - 64] {
                for steps in [0, 1, 64, u32::MAX] {
                    let buckets = Buckets { smallest, largest, steps, resolution: (u32::MAX, 1), ..USUAL };
                    buckets.fate(size(1, u32::MAX));
                    OwnBuckets { resolution: largest, tolerance: steps, square_crop: false }.fate(size(1, 1));
                }
            }
        }
    }

    #[test]
    fn ai_toolkit_keeps_small_images_small() {
        let own = OwnBuckets { resolution: 1024, tolerance: 64, square_crop: false };
        assert_eq!(own.bucket(size(1920, 1080)), size(1344, 768));
        assert_eq!(own.fate(size(200, 200)), Fate::Small);
        assert_eq!(own.fate(size(400, 400)), Fate::Fine);
        assert!(matches!(own.fate(size(10, 10)), Fate::Enlarged(times) if (times - 6.4).abs() < 1e-9));
        assert!(matches!(OwnBuckets { square_crop: true, ..own }.fate(size(200, 200)), Fate::Enlarged(_)));
    }

    #[test]
    fn simpletuner_leaves_out_what_is_beyond_its_limits() {
        let limits = Limits { least_side: Some(512.0), narrowest: Some(0.5), widest: Some(2.0), ..Limits::default() };
        for (image, fate) in [
            (size(512, 512), Fate::Fine),
            (size(511, 900), Fate::LeftOut("minimum_image_size")),
            (size(600, 2400), Fate::LeftOut("minimum_aspect_ratio")),
            (size(2400, 600), Fate::LeftOut("maximum_aspect_ratio")),
            (size(1030, 512), Fate::Fine),
        ] {
            assert_eq!(limits.fate(image), fate, "{image}");
        }
        let area = Limits { least_area: Some(1024.0 * 1024.0), ..Limits::default() };
        assert_eq!(
            (area.fate(size(2048, 512)), area.fate(size(2048, 500))),
            (Fate::Fine, Fate::LeftOut("minimum_image_size"))
        );
    }
}
