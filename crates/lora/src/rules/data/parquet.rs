//! The footer of a Parquet file, as far as it names columns and counts rows. Of its format, Thrift's compact protocol,
//! only what the footer needs is read: <https://parquet.apache.org/docs/file-format/metadata/>.

/// Bytes at the beginning and at the end of a file.
const MAGIC: &[u8] = b"PAR1";
/// The end of a file: the footer's length, and the magic.
const END: usize = 8;
/// The maximum number of columns, with those inside of other columns.
const MOST_COLUMNS: usize = 10_000;
/// The maximum depth of what is skipped. Parquet's own structures are less deep.
const DEEPEST: usize = 16;

/// A table's columns and the number of its rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) columns: Vec<String>,
    pub(super) rows: u64,
}

impl Footer {
    /// Reads the footer of a whole file. Returns `None` when it is not one that any reader could use.
    pub(super) fn of(file: &[u8]) -> Option<Self> {
        let end = file.strip_suffix(MAGIC)?.len().checked_sub(END - MAGIC.len())?;
        let length = u32::from_le_bytes(file.get(end..end + 4)?.try_into().ok()?);
        let begin = end.checked_sub(usize::try_from(length).ok()?).filter(|begin| *begin >= MAGIC.len())?;
        let (mut columns, mut rows) = (None, None);
        let mut reader = Reader { rest: file.starts_with(MAGIC).then_some(&file[begin..end])? };
        let mut fields = Fields::default();
        while let Some((field, kind)) = fields.next(&mut reader)? {
            match (field, kind) {
                (2, LIST) => columns = Some(columns_of(&mut reader)?),
                (3, I64) => rows = u64::try_from(reader.signed()?).ok(),
                _ => reader.skip(kind, 0)?,
            }
        }
        Some(Self { columns: columns?, rows: rows? })
    }
}

/// Reads the schema, and returns the names of its outermost columns. The first element is the root, which has the others
/// as children.
fn columns_of(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let (count, kind) = reader.list()?;
    if kind != STRUCT || !(1..=MOST_COLUMNS).contains(&count) {
        return None;
    }
    let mut names = Vec::new();
    // The number of elements that are still to come inside of an outermost column.
    let mut inner: u64 = 0;
    for place in 0..count {
        let (name, children) = element(reader)?;
        if place == 0 {
            continue;
        }
        if inner == 0 {
            names.push(name);
        } else {
            inner -= 1;
        }
        inner = inner.checked_add(children)?;
    }
    Some(names)
}

/// Reads one element of the schema: its name, and the number of its children.
fn element(reader: &mut Reader<'_>) -> Option<(String, u64)> {
    let (mut name, mut children) = (None, 0);
    let mut fields = Fields::default();
    while let Some((field, kind)) = fields.next(reader)? {
        match (field, kind) {
            (4, BINARY) => name = Some(String::from_utf8_lossy(reader.bytes()?).into_owned()),
            (5, I32) => children = u64::try_from(reader.signed()?).ok()?,
            _ => reader.skip(kind, 0)?,
        }
    }
    Some((name?, children))
}

/// The kinds of values.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// The fields of a structure, each of which has a number that grows.
#[derive(Default)]
struct Fields {
    last: i64,
}

impl Fields {
    /// Returns the number and the kind of the next field; inside, `None` after the last one.
    fn next(&mut self, reader: &mut Reader<'_>) -> Option<Option<(i64, u8)>> {
        let head = reader.byte()?;
        if head == 0 {
            return Some(None);
        }
        self.last = match head >> 4 {
            0 => reader.signed()?,
            more => self.last.checked_add(more.into())?,
        };
        Some(Some((self.last, head & 0x0f)))
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let zigzag = self.unsigned()?;
        Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.unsigned()?).ok()?;
        self.take(length)
    }

    /// Reads the head of a list: the number of its items, and their kind.
    fn list(&mut self) -> Option<(usize, u8)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => usize::try_from(self.unsigned()?).ok()?,
            few => few.into(),
        };
        // Each item takes a byte at least.
        (count <= self.rest.len()).then_some((count, head & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match kind {
            TRUE | FALSE => {}
            BYTE => drop(self.byte()?),
            I16 | I32 | I64 => drop(self.unsigned()?),
            DOUBLE => drop(self.take(8)?),
            BINARY => drop(self.bytes()?),
            LIST | SET => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    self.skip_item(kind, depth + 1)?;
                }
            }
            MAP => {
                let count = self.unsigned()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.skip_item(kinds >> 4, depth + 1)?;
                    self.skip_item(kinds & 0x0f, depth + 1)?;
                }
            }
            STRUCT => {
                let mut fields = Fields::default();
                while let Some((_, kind)) = fields.next(self)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Skips an item of a list or map. There a truth value takes a byte; in a field its kind tells the value.
    fn skip_item(&mut self, kind: u8, depth: usize) -> Option<()> {
        if matches!(kind, TRUE | FALSE) { self.byte().map(drop) } else { self.skip(kind, depth) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by pyarrow and by polars.
    const TAGS: &[u8] = include_bytes!("fixtures/tags.parquet");
    const CHAT: &[u8] = include_bytes!("fixtures/polars.parquet");

    fn of(file: &[u8]) -> Option<(String, u64)> {
        Footer::of(file).map(|footer| (footer.columns.join(" "), footer.rows))
    }

    /// A file with this footer.
    fn file(footer: &[u8]) -> Vec<u8> {
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        [MAGIC, footer, &length, MAGIC].concat()
    }

    #[test]
    fn the_outermost_columns_and_the_rows_are_read() {
        assert_eq!(of(TAGS), Some(("file_name tags caption".to_owned(), 2)), "tags is a list");
        assert_eq!(of(CHAT), Some(("instruction output messages".to_owned(), 1)), "messages is a list of structures");
    }

    #[test]
    fn a_cut_file_or_another_one_has_no_footer() {
        for cut in 0..TAGS.len() {
            assert_eq!(of(&TAGS[..cut]), None, "{cut}");
        }
        assert_eq!(of(&TAGS[1..]), None, "the magic at the beginning is missing");
        assert_eq!(of(b"PAR1PAR1"), None);
    }

    #[test]
    fn a_hostile_footer_costs_no_more_than_its_length() {
        // A list that claims billions of items, of kinds that take no byte in a field.
        for kind in [TRUE, FALSE, STRUCT, LIST, BINARY, 0, 15] {
            for list in [0x19, 0x29] {
                assert_eq!(of(&file(&[list, 0xf0 | kind, 0xff, 0xff, 0xff, 0xff, 0x0f, 0])), None, "{kind}");
            }
            assert_eq!(of(&file(&[0x1b, 0xff, 0xff, 0xff, 0xff, 0x0f, kind << 4 | kind, 0])), None, "{kind}");
        }
        // Structures in structures, a number without an end, a name without an end, and a footer before the file.
        assert_eq!(of(&file(&[0x1c; 10_000])), None);
        assert_eq!(of(&file(&[[0x15].as_slice(), &[0xff; 100]].concat())), None);
        assert_eq!(of(&file(&[0x19, 0x1c, 0x48, 0xff, 0xff, 0xff, 0xff, 0x0f])), None);
        assert_eq!(of(b"PAR1....\xff\xff\xff\x7fPAR1"), None);
        // A root whose child claims more children than there are: the file is short, not deep.
        let claims = [0x29, 0x2c, 0x48, 1, b'r', 0x15, 2, 0, 0x48, 1, b'a', 0x15, 0x7e, 0, 0x16, 2, 0];
        assert_eq!(of(&file(&claims)), Some(("a".to_owned(), 1)));
    }

    proptest::proptest! {
        #[test]
        fn no_footer_panics(footer in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            of(&file(&footer));
        }
    }
}
