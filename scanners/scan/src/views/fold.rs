//! Look-alikes: which ASCII character does a person (or a model) read here?

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// First code point without a table entry.
const TABLE: usize = 0x3000;

/// ASCII look-alike of each code point below [`TABLE`]; 0 for none. Immutable, made on first use.
static FOLDS: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    (0_u32..0x3000)
        .map(|code| char::from_u32(code).and_then(look_up).unwrap_or(0))
        .collect()
});

/// Makes the table now, not in the middle of a message.
pub(crate) fn warm_up() {
    LazyLock::force(&FOLDS);
}

/// The ASCII character that `c`, which is not ASCII, is read as.
pub(super) fn fold(c: char) -> Option<u8> {
    let code = u32::from(c) as usize;
    if code < TABLE {
        return FOLDS.get(code).copied().filter(|byte| *byte != 0);
    }
    if is_stable_script(c) {
        return None;
    }
    look_up(c)
}

/// Unified ideographs and Hangul syllables: normal as they are, and nothing looks like them.
pub(super) fn is_stable_script(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

fn look_up(c: char) -> Option<u8> {
    if c.is_ascii() {
        return None;
    }
    if let Some(letter) = styled(c) {
        return Some(letter);
    }
    let lower = || {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(one), None) if one != c => Some(one),
            _ => None,
        }
    };
    match skeleton(c) {
        // A capital that looks like `l` is a capital I of its script.
        Some(b'l') => lower().and_then(skeleton).or(Some(b'l')),
        Some(byte) => Some(byte),
        None => lower().and_then(skeleton),
    }
}

/// UTS 39 skeleton, or else the compatibility decomposition, if it is one ASCII character with or
/// without marks.
fn skeleton(c: char) -> Option<u8> {
    let mut buffer = [0; 4];
    let text: &str = c.encode_utf8(&mut buffer);
    ascii_with_marks(unicode_security::skeleton(text)).or_else(|| ascii_with_marks(text.nfkd()))
}

fn ascii_with_marks(mut chars: impl Iterator<Item = char>) -> Option<u8> {
    let first = u8::try_from(chars.next()?)
        .ok()
        .filter(u8::is_ascii_graphic)?;
    chars.all(is_combining_mark).then_some(first)
}

/// Letter styles that neither NFKC nor the confusables table maps: circled and squared capitals,
/// regional indicators, small capitals.
fn styled(c: char) -> Option<u8> {
    const SMALL_CAPITALS: &str = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡ\u{0}ʏᴢ";
    let capital = |base: u32| {
        u8::try_from(u32::from(c).checked_sub(base)?)
            .ok()
            .map(|n| b'a' + n)
    };
    match c {
        '\u{1f150}'..='\u{1f169}' => capital(0x1f150),
        '\u{1f170}'..='\u{1f189}' => capital(0x1f170),
        '\u{1f1e6}'..='\u{1f1ff}' => capital(0x1f1e6),
        _ => {
            let place = SMALL_CAPITALS.chars().position(|small| small == c)?;
            u8::try_from(place).ok().map(|n| b'a' + n)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_of_several_scripts() {
        for (c, ascii) in [
            ('а', b'a'), // Cyrillic
            ('е', b'e'),
            ('о', b'o'),
            ('р', b'p'),
            ('с', b'c'),
            ('і', b'i'),
            ('І', b'i'),
            ('ο', b'o'), // Greek
            ('Α', b'A'),
            ('Ν', b'N'),
            ('é', b'e'), // Latin with a mark
            ('ı', b'i'),
            ('ɢ', b'g'),
            ('ᴏ', b'o'),
            ('🅰', b'a'),
            ('ո', b'n'), // Armenian
        ] {
            assert_eq!(fold(c).map(char::from), Some(char::from(ascii)), "{c}");
        }
        for c in ['中', '한', 'ж', 'я', '😀', 'a'] {
            assert_eq!(fold(c), None, "{c}");
        }
    }
}
