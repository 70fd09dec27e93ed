//! What the safe layer promises: faults, stops, panics, streams, scratches, the cache, the self-test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, process};

use mcpf_vectorscan::self_test::{Kind, Known, literals, patterns, self_test_with};
use mcpf_vectorscan::{
    Database, Ext, Flags, Flow, Literal, Mode, Origin, Outcome, Pattern, ScanError, Scratch,
    SelfTestError, StreamScanner, compile, compile_literals, info, load_or_compile,
    load_or_compile_literals, self_test,
};

fn block(expressions: &[&str]) -> Database {
    let patterns: Vec<_> = (0..)
        .zip(expressions)
        .map(|(id, e)| Pattern::new(id, e))
        .collect();
    compile(&patterns, Mode::Block).unwrap()
}

fn stream(expressions: &[&str]) -> Database {
    let patterns: Vec<_> = (0..)
        .zip(expressions)
        .map(|(id, e)| Pattern::new(id, e))
        .collect();
    compile(&patterns, Mode::Stream).unwrap()
}

fn ends(database: &Database, scratch: &mut Scratch, data: &[u8]) -> Vec<(u32, usize)> {
    let mut ends = Vec::new();
    let outcome = database.scan(data, scratch, |id, end| {
        ends.push((id, end));
        Flow::Continue
    });
    assert_eq!(outcome, Ok(Outcome::Done));
    ends
}

// --- types ---

const _: () = {
    const fn send<T: Send>() {}
    const fn sync<T: Sync>() {}
    send::<Database>();
    sync::<Database>();
    send::<Scratch>();
    send::<StreamScanner>();
};

/// Compiles only while `T` is not `Sync`: else `some` would be ambiguous.
macro_rules! assert_not_sync {
    ($type:ty) => {
        const _: fn() = || {
            trait AmbiguousIfSync<A> {
                fn some() {}
            }
            impl<T: ?Sized> AmbiguousIfSync<()> for T {}
            struct Marker;
            impl<T: ?Sized + Sync> AmbiguousIfSync<Marker> for T {}
            let _ = <$type as AmbiguousIfSync<_>>::some;
        };
    };
}
assert_not_sync!(Scratch);
assert_not_sync!(StreamScanner);

// --- compile ---

#[test]
fn every_bad_pattern_is_reported() {
    let expressions = [
        "good",
        "bad(",
        "fine[0-9]{2}",
        "[z-a]",
        "back(ref)\\1",
        "a$",
        "last",
        "a*",
        "(*UTF8)x",
        "n\0l",
    ];
    let patterns: Vec<_> = (100..)
        .zip(expressions)
        .map(|(id, e)| Pattern::new(id, e))
        .collect();
    let faults = compile(&patterns, Mode::Block).unwrap_err();
    let indices: Vec<_> = faults.iter().map(|fault| fault.index.unwrap()).collect();
    assert_eq!(indices, [1, 3, 4, 5, 7, 8, 9]);
    assert_eq!(faults[0].id, Some(101));
    assert!(faults.iter().all(|fault| !fault.message.is_empty()));
    assert!(
        faults[0].to_string().starts_with("pattern 1 (id 101): "),
        "{}",
        faults[0]
    );
}

#[test]
fn faults_at_both_ends_are_reported() {
    let patterns = [
        Pattern::new(0, "("),
        Pattern::new(1, "ok"),
        Pattern::new(2, ")"),
    ];
    let faults = compile(&patterns, Mode::Stream).unwrap_err();
    assert_eq!(
        faults
            .iter()
            .map(|fault| fault.id.unwrap())
            .collect::<Vec<_>>(),
        [0, 2]
    );
}

#[test]
fn an_empty_set_is_refused_as_a_set() {
    let faults = compile(&[], Mode::Block).unwrap_err();
    assert_eq!((faults.len(), faults[0].index), (1, None));
    assert_eq!(
        compile_literals(&[], Mode::Block).unwrap_err()[0].index,
        None
    );
}

#[test]
fn bad_literals_are_reported() {
    let literals = [
        Literal {
            bytes: b"",
            id: 1,
            flags: Flags::NONE,
        },
        Literal {
            bytes: b"fine",
            id: 2,
            flags: Flags::NONE,
        },
        Literal {
            bytes: b"dot",
            id: 3,
            flags: Flags::DOTALL,
        },
        Literal {
            bytes: b"",
            id: 4,
            flags: Flags::NONE,
        },
    ];
    let faults = compile_literals(&literals, Mode::Block).unwrap_err();
    assert_eq!(
        faults
            .iter()
            .map(|fault| fault.id.unwrap())
            .collect::<Vec<_>>(),
        [1, 3, 4]
    );
}

#[test]
fn info_knows_widths() {
    let known = info("a[bc]{2,5}", Flags::NONE).unwrap();
    assert_eq!((known.min_width, known.max_width), (3, Some(6)));
    assert!(!known.matches_at_end);
    assert_eq!(info("ab+", Flags::NONE).unwrap().max_width, None);
    assert!(info(r"a\b", Flags::NONE).unwrap().matches_at_end);
    assert!(info("(", Flags::NONE).is_err() && info("a$", Flags::NONE).is_err());
}

#[test]
fn extra_limits_apply() {
    let ext = Ext {
        min_offset: Some(4),
        max_offset: Some(8),
        ..Ext::default()
    };
    let pattern = Pattern {
        ext,
        ..Pattern::new(5, "ab")
    };
    let database = compile(&[pattern, Pattern::new(6, "zz")], Mode::Block).unwrap();
    let mut scratch = Scratch::new(&[&database]).unwrap();
    assert_eq!(
        ends(&database, &mut scratch, b"ababababab"),
        [(5, 4), (5, 6), (5, 8)]
    );
}

// --- scan ---

#[test]
fn literals_hold_any_byte() {
    let literals = [
        Literal {
            bytes: b"a\0b",
            id: 1,
            flags: Flags::NONE,
        },
        Literal {
            bytes: b".*$",
            id: 2,
            flags: Flags::NONE,
        },
        Literal {
            bytes: b"Evil",
            id: 3,
            flags: Flags::CASELESS,
        },
    ];
    let database = compile_literals(&literals, Mode::Block).unwrap();
    let mut scratch = Scratch::new(&[&database]).unwrap();
    assert_eq!(
        ends(&database, &mut scratch, b"a\0b .*$ eVIL"),
        [(1, 3), (2, 7), (3, 12)]
    );
}

#[test]
fn starts_are_known_where_asked_for() {
    let pattern = Pattern::new(1, "a[b]{1,3}c").with_flags(Flags::SOM_LEFTMOST);
    let database = compile(&[pattern], Mode::Block).unwrap();
    let mut scratch = Scratch::new(&[&database]).unwrap();
    let mut spans = Vec::new();
    let _ = database
        .scan_spans(b"xxabbc", &mut scratch, |_, span| {
            spans.push(span);
            Flow::Continue
        })
        .unwrap();
    assert_eq!(spans.as_slice(), std::slice::from_ref(&(2..6)));
    assert!(compile(&[pattern], Mode::Stream).is_err());
}

#[test]
fn stop_ends_the_scan() {
    let database = block(&["ab"]);
    let mut scratch = Scratch::new(&[&database]).unwrap();
    let mut seen = 0;
    let outcome = database.scan(&b"ab".repeat(50), &mut scratch, |_, _| {
        seen += 1;
        if seen == 3 {
            Flow::Stop
        } else {
            Flow::Continue
        }
    });
    assert_eq!((outcome, seen), (Ok(Outcome::Stopped), 3));
    assert_eq!(ends(&database, &mut scratch, b"ab").len(), 1);
}

#[test]
fn a_panic_in_the_callback_comes_through_and_leaves_the_scratch_usable() {
    let database = block(&["ab"]);
    let mut scratch = Scratch::new(&[&database]).unwrap();
    let mut calls = 0;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        database.scan(b"ab ab ab", &mut scratch, |_, _| {
            calls += 1;
            panic!("from the callback")
        })
    }));
    assert_eq!(
        caught.unwrap_err().downcast_ref::<&str>(),
        Some(&"from the callback")
    );
    assert_eq!(calls, 1);
    assert_eq!(ends(&database, &mut scratch, b"ab ab").len(), 2);
}

#[test]
fn empty_data_is_fine() {
    let database = block(&["ab", r"\bc"]);
    let mut scratch = Scratch::new(&[&database]).unwrap();
    assert!(ends(&database, &mut scratch, b"").is_empty());
}

// --- scratch ---

#[test]
fn a_scratch_serves_only_what_it_was_fitted_to() {
    let (one, two) = (
        block(&["one"]),
        block(&["two", "a[bc]{3,40}d", "(?:xy|yz){2,9}q"]),
    );
    let mut scratch = Scratch::new(&[&one]).unwrap();
    let refused = two.scan(b"two", &mut scratch, |_, _| Flow::Continue);
    assert_eq!(refused, Err(ScanError::ForeignScratch));
    scratch.fit(&two).unwrap();
    assert_eq!(ends(&one, &mut scratch, b"one two"), [(0, 3)]);
    assert_eq!(ends(&two, &mut scratch, b"one two"), [(0, 7)]);
    let mut other = scratch.try_clone().unwrap();
    assert_eq!(ends(&two, &mut other, b"one two"), [(0, 7)]);
    assert!(other.size() > 0);
}

#[test]
fn an_empty_scratch_serves_nothing() {
    let database = block(&["one"]);
    let mut scratch = Scratch::new(&[]).unwrap();
    let mut clone = scratch.try_clone().unwrap();
    for scratch in [&mut scratch, &mut clone] {
        let refused = database.scan(b"one", scratch, |_, _| Flow::Continue);
        assert_eq!(refused, Err(ScanError::ForeignScratch));
    }
}

#[test]
fn threads_share_a_database() {
    let database = block(&["needle"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let database = database.clone();
            scope.spawn(move || {
                let mut scratch = Scratch::new(&[&database]).unwrap();
                for _ in 0..100 {
                    assert_eq!(ends(&database, &mut scratch, b"a needle"), [(0, 8)]);
                }
            });
        }
    });
}

// --- stream ---

#[test]
fn any_cut_equals_the_whole() {
    let expressions = [
        "ab",
        "b[cd]{2,6}e",
        r"\bword\b",
        "longer-literal-here",
        "a.{0,9}z",
    ];
    let (whole, cut) = (block(&expressions), stream(&expressions));
    let mut scratch = Scratch::new(&[&whole, &cut]).unwrap();
    let text = b"ab word bcdcde longer-literal-here a12345z ab word";
    let mut expected = ends(&whole, &mut scratch, text);
    expected.sort_unstable();
    for size in 1..=text.len() {
        let mut scanner = StreamScanner::open(&cut).unwrap();
        let mut found = Vec::new();
        let mut note = |id, end: u64| {
            found.push((id, usize::try_from(end).unwrap()));
            Flow::Continue
        };
        for chunk in text.chunks(size) {
            let _ = scanner.write(&mut scratch, chunk, &mut note).unwrap();
        }
        let _ = scanner.close(&mut scratch, &mut note).unwrap();
        found.sort_unstable();
        assert_eq!(found, expected, "chunks of {size}");
    }
}

#[test]
fn a_stopped_stream_stays_stopped_until_reset() {
    let database = stream(&["ab"]);
    let mut scratch = Scratch::new(&[&database]).unwrap();
    let mut scanner = StreamScanner::open(&database).unwrap();
    let first = scanner.write(&mut scratch, b"ab ab", |_, _| Flow::Stop);
    assert_eq!(first, Ok(Outcome::Stopped));
    let second = scanner.write(&mut scratch, b"ab", |_, _| panic!("the stream is stopped"));
    assert_eq!(second, Ok(Outcome::Stopped));
    let _ = scanner.reset(&mut scratch, |_, _| Flow::Continue).unwrap();
    let mut seen = Vec::new();
    let third = scanner.write(&mut scratch, b"ab", |_, end| {
        seen.push(end);
        Flow::Continue
    });
    assert_eq!((third, seen.as_slice()), (Ok(Outcome::Done), &[2][..]));
}

#[test]
fn a_stream_outlives_the_callers_database() {
    let database = stream(&["ab"]);
    let mut scratch = Scratch::new(&[&database]).unwrap();
    let mut scanner = StreamScanner::open(&database).unwrap();
    drop(database);
    let mut seen = 0;
    for chunk in [b"a", b"b"] {
        let _ = scanner
            .write(&mut scratch, chunk, |_, _| {
                seen += 1;
                Flow::Continue
            })
            .unwrap();
    }
    assert_eq!(seen, 1);
    // Dropped without a close.
}

#[test]
fn modes_do_not_mix() {
    let (whole, cut) = (block(&["ab"]), stream(&["ab"]));
    let mut scratch = Scratch::new(&[&whole, &cut]).unwrap();
    let refused = cut.scan(b"ab", &mut scratch, |_, _| Flow::Continue);
    assert_eq!(refused, Err(ScanError::WrongMode));
    assert_eq!(
        StreamScanner::open(&whole).err(),
        Some(ScanError::WrongMode)
    );
    assert!(cut.stream_size().unwrap() > 0);
    assert_eq!(whole.stream_size(), Err(ScanError::WrongMode));
}

// --- cache ---

/// A directory of this test's own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcpf-vectorscan-{}-{name}", process::id()));
        Self(path)
    }

    fn only_file(&self) -> PathBuf {
        let files: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const RULES: [Pattern<'static>; 1] = [Pattern {
    expression: "needle",
    id: 3,
    flags: Flags::CASELESS,
    ext: NO_EXT,
}];
const NO_EXT: Ext = Ext {
    min_offset: None,
    max_offset: None,
    min_length: None,
    edit_distance: None,
    hamming_distance: None,
};

fn load(path: &Path) -> Origin {
    let loaded = load_or_compile(Some(path), &RULES, Mode::Block).unwrap();
    let mut scratch = Scratch::new(&[&loaded.database]).unwrap();
    assert_eq!(ends(&loaded.database, &mut scratch, b"a NEEDLE"), [(3, 8)]);
    loaded.origin
}

#[test]
fn a_database_is_stored_and_restored() {
    let directory = Directory::new("store");
    let nested = directory.0.join("deeper");
    assert!(matches!(load(&nested), Origin::Stored));
    assert!(matches!(load(&nested), Origin::Restored));
    assert_eq!(fs::metadata(&nested).unwrap().mode() & 0o777, 0o700);
    let file = fs::read_dir(&nested).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn keys_tell_sets_apart() {
    let directory = Directory::new("keys");
    let path = Some(directory.0.as_path());
    let word = |flags| Literal {
        bytes: b"needle",
        id: 3,
        flags,
    };
    assert!(matches!(load(&directory.0), Origin::Stored));
    for patterns in [
        [RULES[0].with_flags(Flags::NONE)],
        [Pattern { id: 4, ..RULES[0] }],
        [Pattern {
            ext: Ext {
                min_length: Some(0),
                ..NO_EXT
            },
            ..RULES[0]
        }],
    ] {
        let loaded = load_or_compile(path, &patterns, Mode::Block).unwrap();
        assert!(matches!(loaded.origin, Origin::Stored));
    }
    let cut = load_or_compile(path, &RULES, Mode::Stream).unwrap();
    assert!(matches!(cut.origin, Origin::Stored));
    let cut = load_or_compile(path, &RULES, Mode::Stream).unwrap();
    assert!(matches!(cut.origin, Origin::Restored) && cut.database.mode() == Mode::Stream);
    for flags in [Flags::NONE, Flags::CASELESS] {
        let loaded = load_or_compile_literals(path, &[word(flags)], b"", Mode::Block).unwrap();
        assert!(matches!(loaded.origin, Origin::Stored));
    }
    assert!(matches!(
        load_or_compile(None, &RULES, Mode::Block).unwrap().origin,
        Origin::Compiled
    ));
}

#[test]
fn a_damaged_file_is_compiled_again() {
    let directory = Directory::new("damage");
    assert!(matches!(load(&directory.0), Origin::Stored));
    let file = directory.only_file();
    let good = fs::read(&file).unwrap();
    let middle = good.len() / 2;
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged = [
        flipped(0),
        flipped(9),
        flipped(41),
        flipped(middle),
        good[..middle].to_vec(),
        Vec::new(),
    ];
    for bytes in damaged {
        fs::write(&file, bytes).unwrap();
        assert!(matches!(load(&directory.0), Origin::Stored));
        assert_eq!(fs::read(&file).unwrap().len(), good.len());
    }
    assert!(matches!(load(&directory.0), Origin::Restored));
}

#[test]
fn what_others_could_write_is_not_read() {
    let directory = Directory::new("loose");
    assert!(matches!(load(&directory.0), Origin::Stored));
    let file = directory.only_file();
    for mode in [0o620, 0o602] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(load(&directory.0), Origin::Stored), "{mode:o}");
    }
    let elsewhere = directory.0.with_extension("link");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(matches!(load(&directory.0), Origin::Stored));
    fs::remove_file(&elsewhere).unwrap();
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(load(&directory.0), Origin::Unstored(_)));
}

#[test]
fn an_unusable_directory_is_no_error() {
    let directory = Directory::new("file");
    fs::write(&directory.0, b"a file").unwrap();
    assert!(matches!(load(&directory.0), Origin::Unstored(_)));
    fs::remove_file(&directory.0).unwrap();
}

#[test]
fn faults_are_reported_with_a_cache_too() {
    let directory = Directory::new("faults");
    let faults =
        load_or_compile(Some(&directory.0), &[Pattern::new(1, "(")], Mode::Block).unwrap_err();
    assert_eq!(faults.len(), 1);
}

// --- self-test ---

#[test]
fn the_linked_library_passes() {
    let start = std::time::Instant::now();
    self_test(None).unwrap();
    println!("self-test: {:?}", start.elapsed());
}

/// The honest maker, but for what `alter` does to the patterns.
fn make(
    known: &[Known],
    kind: Kind,
    broken: Kind,
    alter: &dyn Fn(&mut Vec<Known>),
) -> Result<Database, Vec<mcpf_vectorscan::CompileError>> {
    let mut known = known.to_vec();
    if kind == broken {
        alter(&mut known);
    }
    match kind {
        Kind::Block => compile(&patterns(&known), Mode::Block),
        Kind::Stream => compile(&patterns(&known), Mode::Stream),
        Kind::Literal => compile_literals(&literals(&known), Mode::Block),
    }
}

#[test]
fn a_broken_database_is_noticed() {
    for (broken, how) in [
        (Kind::Block, "block"),
        (Kind::Literal, "literal"),
        (Kind::Stream, "stream"),
    ] {
        // One pattern is not there at all.
        let drop_last = |known: &mut Vec<Known>| known.truncate(known.len() - 1);
        let error =
            self_test_with(|known, kind| make(known, kind, broken, &drop_last)).unwrap_err();
        assert!(
            matches!(error, SelfTestError::Missed { how: at, .. } if at == how),
            "{error}"
        );
    }
    // A pattern that needs one more byte: only the very end of the data is missed.
    let needs_more = |known: &mut Vec<Known>| known[3].expression = "needle(?:~|x)";
    let error =
        self_test_with(|known, kind| make(known, kind, Kind::Block, &needs_more)).unwrap_err();
    let SelfTestError::Missed {
        expression: "needle",
        ..
    } = error
    else {
        panic!("{error}")
    };
    // Right anywhere but past offset 60: only some alignments are missed.
    let error = self_test_with(|known, kind| {
        let mut patterns = patterns(known);
        if kind == Kind::Block {
            patterns[2].ext = Ext {
                max_offset: Some(60),
                ..NO_EXT
            };
            return compile(&patterns, Mode::Block);
        }
        make(known, kind, Kind::Block, &|_| ())
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            SelfTestError::Missed {
                expression: "AKIA",
                offset: 57,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_maker_that_fails_is_an_error() {
    let bad = |known: &mut Vec<Known>| known[0].expression = "(";
    let error = self_test_with(|known, kind| make(known, kind, Kind::Block, &bad)).unwrap_err();
    assert!(matches!(error, SelfTestError::Compile(_)), "{error}");
}
