//! The size of an image in pixels, from the first bytes of its file.

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl Size {
    /// Reads the size from the beginning of a file. Returns `None` for formats that are not read here, and when the size
    /// is not among these bytes.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let size = match head {
            [0x89, b'P', b'N', b'G', ..] => png(head),
            [0xff, 0xd8, ..] => jpeg(head),
            [b'R', b'I', b'F', b'F', ..] => webp(head),
            [b'G', b'I', b'F', b'8', ..] => Some((little(head, 6, 2)?, little(head, 8, 2)?)),
            [b'B', b'M', ..] => bmp(head),
            _ => None,
        };
        let (width, height) = size.filter(|(width, height)| *width > 0 && *height > 0)?;
        Some(Self { width, height })
    }

    pub(super) fn area(self) -> f64 {
        f64::from(self.width) * f64::from(self.height)
    }
}

fn png(head: &[u8]) -> Option<(u32, u32)> {
    (head.get(12..16)? == b"IHDR").then_some((big(head, 16, 4)?, big(head, 20, 4)?))
}

/// Finds the start of the frame behind the other segments: a photo's thumbnail and colour profile come first.
fn jpeg(head: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let [0xff, marker] = *head.get(at..at + 2)? else { return None };
        match marker {
            // A frame; the others of this range are tables.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((big(head, at + 7, 2)?, big(head, at + 5, 2)?));
            }
            0xff => at += 1,
            // A scan or the end of the image comes after the frame.
            0x01 | 0xd0..=0xda => return None,
            _ => at += 2 + usize::try_from(big(head, at + 2, 2)?).ok()?,
        }
    }
}

fn webp(head: &[u8]) -> Option<(u32, u32)> {
    match (head.get(8..12)?, head.get(12..16)?) {
        (b"WEBP", b"VP8 ") => Some((little(head, 26, 2)? & 0x3fff, little(head, 28, 2)? & 0x3fff)),
        (b"WEBP", b"VP8L") => {
            let bits = little(head, 21, 4)?;
            Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        (b"WEBP", b"VP8X") => Some((little(head, 24, 3)? + 1, little(head, 27, 3)? + 1)),
        _ => None,
    }
}

/// The height is negative when the rows begin at the top.
fn bmp(head: &[u8]) -> Option<(u32, u32)> {
    match little(head, 14, 4)? {
        12 => Some((little(head, 18, 2)?, little(head, 20, 2)?)),
        _ => Some((little(head, 18, 4)?, little(head, 22, 4)?.cast_signed().unsigned_abs())),
    }
}

fn big(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    Some(bytes.get(at..at + count)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn little(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    Some(bytes.get(at..at + count)?.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hex: &str) -> Option<(u32, u32)> {
        Size::of(&hex::decode(hex.replace(' ', "")).unwrap()).map(|size| (size.width, size.height))
    }

    #[test]
    fn the_formats_that_pillow_writes_have_their_size() {
        for (format, head) in [
            ("jpeg", "ffd8 ffe000100102030405060708091011121314 ffc00011080007012c"),
            ("jpeg, progressive, after fill bytes", "ffd8 ffff ffc20011080007012c"),
            ("webp", "5249464630000000574542505650382044000000f003009d012a2c0107003e6d"),
            ("webp, lossless", "5249464624000000574542505650384c170000002f2b8101000750852257a1ff"),
            ("webp, with alpha", "524946469000000057454250565038580a000000180000002b0100060000414c"),
            ("gif", "4749463837612c0107008100"),
            ("bmp", "424dd21800000000000036000000280000002c010000070000000100"),
            ("bmp, rows from the top", "424dd21800000000000036000000280000002c010000f9ffffff0100"),
        ] {
            assert_eq!(of(head), Some((300, 7)), "{format}");
        }
    }

    #[test]
    fn cut_and_hostile_heads_have_no_size() {
        let png = "89504e470d0a1a0a 0000000d 49484452 00000020 00000010";
        assert_eq!(of(png), Some((32, 16)));
        for cut in (2..png.len()).step_by(9).filter(|cut| *cut < 56) {
            let digits: String = png[..cut].replace(' ', "");
            assert_eq!(of(&digits[..digits.len() / 2 * 2]), None, "{cut}");
        }
        assert_eq!(of("89504e470d0a1a0a 0000000d 49484452 00000000 00000010"), None, "no pixel");
        // A segment of length 0 leads to itself at most, and fill bytes end with the head.
        assert_eq!(of("ffd8 ffe0 0000"), None);
        assert_eq!(of("ffd8 ffffffffffff"), None);
        assert_eq!(of("ffd8 ffda 0008"), None);
        assert_eq!(of(""), None);
    }
}
