//! Where each key of a RON text stands. It reads no meaning; a text that is not RON gives few places.

/// One field, map entry or list element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key path, such as `roots.site.mirrors[0].host`.
    pub key: String,
    /// First byte of the key, or of the value where there is none.
    pub start: usize,
    /// First byte of the value.
    pub value: usize,
    /// Past the last byte of the value.
    pub end: usize,
}

/// All items of a text, outer ones before inner ones.
#[derive(Clone, Debug, Default)]
pub struct Places {
    items: Vec<Item>,
}

impl Places {
    /// Reads through a text.
    pub fn scan(text: &str) -> Self {
        let mut scanner = Scanner { text: text.as_bytes(), at: 0, depth: 0, items: Vec::new() };
        scanner.space();
        // Extensions such as `#![enable(implicit_some)]`.
        while scanner.peek() == Some(b'#') {
            while scanner.next().is_some_and(|byte| byte != b']') {}
            scanner.space();
        }
        scanner.value("");
        Self { items: scanner.items }
    }

    /// First byte of the key with this path.
    pub fn offset(&self, key: &str) -> Option<usize> {
        self.items.iter().find(|item| item.key == key).map(|item| item.start)
    }

    /// The innermost item around this byte, or right before it.
    pub fn item_at(&self, offset: usize) -> Option<&Item> {
        let around = self.items.iter().filter(|i| i.start <= offset && offset <= i.end);
        around.min_by_key(|item| item.end - item.start)
    }

    /// Its key path.
    pub fn key_at(&self, offset: usize) -> Option<String> {
        self.item_at(offset).map(|item| item.key.clone())
    }

    /// All items.
    pub fn items(&self) -> &[Item] {
        &self.items
    }
}

/// Brackets in brackets; a configuration needs six.
const DEPTH_MAX: usize = 100;

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Brackets that are open.
    depth: usize,
    items: Vec<Item>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// White space and comments.
    fn space(&mut self) {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            if rest.starts_with(b"//") {
                self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                self.block_comment();
            } else if rest.first().is_some_and(u8::is_ascii_whitespace) {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_u32;
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            if rest.starts_with(b"/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += 1;
            }
        }
    }

    fn value(&mut self, key: &str) {
        self.space();
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'\'') => {
                self.at += 1;
                while self.next().is_some_and(|byte| byte != b'\'') {}
            }
            Some(b'(') => self.items(key, b')'),
            Some(b'[') => self.items(key, b']'),
            Some(b'{') => self.items(key, b'}'),
            Some(_) => {
                let word = self.word();
                if word == b"r" && matches!(self.peek(), Some(b'"' | b'#')) {
                    self.raw_string();
                    return;
                }
                let end = self.at;
                self.space();
                if self.peek() == Some(b'(') {
                    self.items(key, b')');
                } else {
                    self.at = end;
                }
            }
            None => (),
        }
    }

    /// What stands between a bracket and its partner.
    fn items(&mut self, key: &str, close: u8) {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            // The parser of RON refuses it too, long before.
            self.at = self.text.len();
        }
        let mut index = 0;
        loop {
            self.space();
            match self.peek() {
                None => break,
                Some(byte) if byte == close => {
                    self.at += 1;
                    break;
                }
                // A stray bracket or comma: not RON; go on as well as it goes.
                Some(b',' | b')' | b']' | b'}' | b':') => {
                    self.at += 1;
                    continue;
                }
                Some(_) => (),
            }
            self.item(key, close, index);
            index += 1;
        }
        self.depth -= 1;
    }

    fn item(&mut self, outer: &str, close: u8, index: usize) {
        let start = self.at;
        let slot = self.items.len();
        self.items.push(Item { key: String::new(), start, value: start, end: start });
        let name = self.name();
        self.space();
        let named = name.filter(|_| close != b']' && self.peek() == Some(b':'));
        let key = match &named {
            Some(name) if outer.is_empty() => name.clone(),
            Some(name) => format!("{outer}.{name}"),
            None if close == b')' => outer.to_string(),
            None => format!("{outer}[{index}]"),
        };
        if named.is_some() {
            self.at += 1;
            self.space();
        } else {
            self.at = start;
        }
        let value = self.at;
        self.value(&key);
        if self.at == start {
            self.at += 1;
            // To the next character.
            while self.peek().is_some_and(|byte| byte & 0xC0 == 0x80) {
                self.at += 1;
            }
        }
        self.items[slot] = Item { key, start, value, end: self.at };
    }

    /// A field's name or a map's key, if one stands here.
    fn name(&mut self) -> Option<String> {
        let start = self.at;
        let name = if self.peek() == Some(b'"') {
            self.string();
            self.text.get(start + 1..self.at.saturating_sub(1))?
        } else {
            self.word();
            self.text.get(start..self.at)?
        };
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
    }

    fn word(&mut self) -> &[u8] {
        let start = self.at;
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'+' | b'-');
        while self.text.get(self.at).is_some_and(is_word) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.next() {
            match byte {
                // Where the text is cut off, nothing is escaped.
                b'\\' => drop(self.next()),
                b'"' => return,
                _ => (),
            }
        }
    }

    fn raw_string(&mut self) {
        let mut hashes = 0;
        while self.peek() == Some(b'#') {
            self.at += 1;
            hashes += 1;
        }
        let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
        self.next();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.windows(end.len()).position(|window| window == end);
        self.at += length.map_or(rest.len(), |length| length + end.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_where_it_stands() {
        let text = r##"#![enable(implicit_some)]
// c "x
Config(
    hosts: { "web 1": Ssh(address: "a(b", /* ) */ port: 22), "d": Local },
    roots: {"s": Root(filters: [Exclude("x"), Include(r#"y"]"#)], mirrors: [(host: "d")])},
)"##;
        let places = Places::scan(text);
        let at = |key: &str| places.offset(key).map(|offset| &text[offset..offset + 4]);
        assert_eq!(at("hosts.web 1.port"), Some("port"));
        assert_eq!(at("hosts.d"), Some("\"d\":"));
        assert_eq!(at("roots.s.filters[1]"), Some("Incl"));
        assert_eq!(at("roots.s.mirrors[0].host"), Some("host"));
        assert_eq!(at("roots.s.nothing"), None);
    }

    #[test]
    fn any_bytes_are_read_to_the_end() {
        for text in [
            "", "(", "\"", "(a:", "[,,]", "{\"", "r#\"", "/*", "((((", ")", "(\"a\":)", "#![",
            "(a:\"\\", "(a:r#", "[\"\\",
        ] {
            let places = Places::scan(text);
            assert!(places.items().iter().all(|it| it.end <= text.len()), "{text}");
        }
    }
}
