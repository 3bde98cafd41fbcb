//! Text encodings of files: guessing them, and reading them as UTF-8.

use std::io::{self, Read};

/// How the characters of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf8Bom,
    Utf16Le,
    Utf16Be,
    Latin1,
    Windows1252,
}

impl Encoding {
    const ALL: [Encoding; 6] = [
        Encoding::Utf8,
        Encoding::Utf8Bom,
        Encoding::Utf16Le,
        Encoding::Utf16Be,
        Encoding::Latin1,
        Encoding::Windows1252,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf8Bom => "utf-8-bom",
            Encoding::Utf16Le => "utf-16-le",
            Encoding::Utf16Be => "utf-16-be",
            Encoding::Latin1 => "latin-1",
            Encoding::Windows1252 => "windows-1252",
        }
    }

    pub fn named(name: &str) -> Option<Encoding> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "utf8" => Some(Encoding::Utf8),
            "utf-8-sig" => Some(Encoding::Utf8Bom),
            "utf-16" => Some(Encoding::Utf16Le),
            "iso-8859-1" => Some(Encoding::Latin1),
            "cp1252" => Some(Encoding::Windows1252),
            _ => Encoding::ALL.into_iter().find(|encoding| encoding.name() == name),
        }
    }

    /// Guesses from the beginning of a file; `is_cut` where the file goes on after it.
    pub fn guess(sample: &[u8], is_cut: bool) -> Encoding {
        match sample {
            [0xef, 0xbb, 0xbf, ..] => return Encoding::Utf8Bom,
            [0xff, 0xfe, ..] => return Encoding::Utf16Le,
            [0xfe, 0xff, ..] => return Encoding::Utf16Be,
            _ => {}
        }
        // Mostly Western text in UTF-16 has a zero in every other byte.
        let zeros = |from: usize| sample.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
        if sample.len() >= 4 && zeros(1) * 4 > sample.len() && zeros(0) == 0 {
            return Encoding::Utf16Le;
        }
        if sample.len() >= 4 && zeros(0) * 4 > sample.len() && zeros(1) == 0 {
            return Encoding::Utf16Be;
        }
        match std::str::from_utf8(sample) {
            Ok(_) => Encoding::Utf8,
            // A character that the end of the sample cuts is no error.
            Err(error) if is_cut && error.error_len().is_none() => Encoding::Utf8,
            Err(_) if sample.iter().any(|byte| (0x80..0xa0).contains(byte)) => Encoding::Windows1252,
            Err(_) => Encoding::Latin1,
        }
    }

    /// Bytes of a file in UTF-8, without a byte order mark. UTF-8 itself goes through as it is.
    pub fn reader<R: Read>(self, inner: R) -> Decoder<R> {
        Decoder {
            inner,
            encoding: self,
            raw: Vec::new(),
            text: Vec::new(),
            place: 0,
            at_start: true,
            at_end: false,
        }
    }
}

/// Reads a file of any encoding as UTF-8.
pub struct Decoder<R> {
    inner: R,
    encoding: Encoding,
    /// Read, but not decoded yet.
    raw: Vec<u8>,
    text: Vec<u8>,
    place: usize,
    at_start: bool,
    at_end: bool,
}

const CHUNK: usize = 1 << 16;

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.place == self.text.len() {
            if self.at_end {
                return Ok(0);
            }
            self.fill()?;
        }
        let count = buffer.len().min(self.text.len() - self.place);
        buffer[..count].copy_from_slice(&self.text[self.place..self.place + count]);
        self.place += count;
        Ok(count)
    }
}

impl<R: Read> Decoder<R> {
    fn fill(&mut self) -> io::Result<()> {
        self.read_more()?;
        // A byte order mark that arrives in pieces is still one.
        while self.at_start && self.raw.len() < 3 && !self.at_end {
            self.read_more()?;
        }
        self.text.clear();
        self.place = 0;
        match self.encoding {
            Encoding::Utf8 | Encoding::Utf8Bom => self.text.append(&mut self.raw),
            Encoding::Latin1 => self.decode_single(char::from),
            Encoding::Windows1252 => self.decode_single(windows_1252),
            Encoding::Utf16Le => self.decode_utf16(u16::from_le_bytes)?,
            Encoding::Utf16Be => self.decode_utf16(u16::from_be_bytes)?,
        }
        if self.at_start && self.text.starts_with("\u{feff}".as_bytes()) {
            self.place = 3;
        }
        self.at_start = false;
        Ok(())
    }

    fn read_more(&mut self) -> io::Result<()> {
        let kept = self.raw.len();
        self.raw.resize(kept + CHUNK, 0);
        let read = self.inner.read(&mut self.raw[kept..])?;
        self.raw.truncate(kept + read);
        self.at_end = read == 0;
        Ok(())
    }

    fn decode_single(&mut self, decode: impl Fn(u8) -> char) {
        let mut bytes = [0; 4];
        for byte in self.raw.drain(..) {
            self.text.extend_from_slice(decode(byte).encode_utf8(&mut bytes).as_bytes());
        }
    }

    fn decode_utf16(&mut self, unit: impl Fn([u8; 2]) -> u16) -> io::Result<()> {
        let mut units: Vec<u16> =
            self.raw.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        let is_half = |unit: &u16| (0xd800..0xdc00).contains(unit);
        if !self.at_end && units.last().is_some_and(is_half) {
            units.pop();
        }
        if self.at_end && self.raw.len() % 2 == 1 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file ends within a UTF-16 character",
            ));
        }
        self.raw.drain(..units.len() * 2);
        let mut bytes = [0; 4];
        for decoded in char::decode_utf16(units) {
            let invalid =
                |_| io::Error::new(io::ErrorKind::InvalidData, "a character is not valid UTF-16");
            self.text.extend_from_slice(decoded.map_err(invalid)?.encode_utf8(&mut bytes).as_bytes());
        }
        Ok(())
    }
}

/// The 32 places where Windows-1252 differs from Latin-1; five of them are unused and kept.
fn windows_1252(byte: u8) -> char {
    const DIFFERENT: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..0xa0 => DIFFERENT[usize::from(byte - 0x80)],
        byte => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Gives one byte at a time, so that every character is cut.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((byte, rest)) = self.0.split_first() else { return Ok(0) };
            (buffer[0], self.0) = (*byte, rest);
            Ok(1)
        }
    }

    fn decoded(encoding: Encoding, bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        encoding.reader(Drip(bytes)).read_to_string(&mut text)?;
        Ok(text)
    }

    fn utf16(text: &str, bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn every_encoding_is_guessed_and_read() {
        let text = "nämë;größe 🐦\n1;2\n";
        let bom = format!("\u{feff}{text}");
        let cases = [
            (Encoding::Utf8, text.as_bytes().to_vec()),
            (Encoding::Utf8Bom, bom.as_bytes().to_vec()),
            (Encoding::Utf16Le, utf16(&bom, u16::to_le_bytes)),
            (Encoding::Utf16Be, utf16(&bom, u16::to_be_bytes)),
            (Encoding::Utf16Le, utf16(text, u16::to_le_bytes)),
        ];
        for (encoding, bytes) in cases {
            assert_eq!(Encoding::guess(&bytes, false), encoding);
            assert_eq!(decoded(encoding, &bytes).unwrap(), text, "{encoding:?}");
        }
        assert_eq!(Encoding::guess(b"caf\xe9", false), Encoding::Latin1);
        assert_eq!(decoded(Encoding::Latin1, b"caf\xe9").unwrap(), "café");
        assert_eq!(Encoding::guess(b"5 \x80", false), Encoding::Windows1252);
        assert_eq!(decoded(Encoding::Windows1252, b"5 \x80").unwrap(), "5 €");
        assert_eq!(Encoding::guess(b"caf\xc3", true), Encoding::Utf8);
    }

    #[test]
    fn broken_utf16_is_an_error() {
        assert!(decoded(Encoding::Utf16Le, &[0x61, 0x00, 0x62]).is_err());
        assert!(decoded(Encoding::Utf16Le, &[0x00, 0xdc, 0x62, 0x00]).is_err());
        assert!(decoded(Encoding::Utf16Le, &[0x62, 0x00, 0x00, 0xd8]).is_err());
    }

    #[test]
    fn names_lead_back_to_their_encodings() {
        for encoding in Encoding::ALL {
            assert_eq!(Encoding::named(encoding.name()), Some(encoding));
        }
        assert_eq!(Encoding::named("ebcdic"), None);
    }
}
