//! From the file as written to checked rules: names are resolved, numbers put in range, and
//! everything that is wrong is reported at once. Patterns stay text; the linter reads them.

use std::sync::Arc;

use mcpf_model::{Action, Family, Severity, Surface, View};
use mcpf_scan::{Anchor, PatternSpec, SurfaceSet, UnknownValidator, Validator, ViewSet};
use serde_saphyr::Spanned;

use crate::diagnostic::{At, Code, Diagnostic, Place};
use crate::raw;
use crate::rule::{Rule, Source};

/// Bytes around a match in which a keyword may stand, unless the rule says otherwise.
const KEYWORD_WINDOW: u16 = 64;

/// Checks the rules of one file, reporting everything that is wrong at once.
pub(crate) fn check(raw: raw::File, source: &Source) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let mut checker = Checker {
        source,
        found: Vec::new(),
    };
    let version = raw::at(raw.version);
    if version.value != 1 {
        checker.report(
            version.place,
            Code::Version,
            format!(
                "version `{}` of the rule format is not known",
                version.value
            ),
            "write `version: 1`",
        );
    }
    let rules: Vec<Rule> = raw
        .rules
        .into_iter()
        .map(|rule| checker.rule(rule))
        .collect();
    if checker.found.is_empty() {
        Ok(rules)
    } else {
        Err(checker.found)
    }
}

struct Checker<'a> {
    source: &'a Source,
    found: Vec<Diagnostic>,
}

impl Checker<'_> {
    /// Resolves every field. After a report the returned rule holds stand-ins and is dropped by
    /// [`check`].
    fn rule(&mut self, raw: raw::Rule) -> Rule {
        let id = raw::at(raw.id);
        self.id(&id);
        let family = self.family(raw.family);
        let severity = self.severity(raw.severity);
        let action = match raw.action {
            Some(action) => self.action(action),
            None => At {
                value: default_action(family, severity),
                place: id.place,
            },
        };
        let surfaces = self.surfaces(id.place, raw.surfaces, raw.direction);
        let views = self.views(raw.views);
        let paranoia = self.paranoia(raw.paranoia);
        let keyword_window = self.keyword_window(raw.keyword_window);
        let anchor = match raw.anchor {
            Some(anchor) => self.anchor(anchor),
            None => Anchor::Literal,
        };
        let capture = raw.capture.map(|capture| self.capture(capture));
        Rule {
            source: self.source.clone(),
            name: self.text(raw.name, "name"),
            description: self.text(raw.description, "description"),
            family,
            severity,
            action,
            references: located(raw.references),
            surfaces,
            views,
            paranoia,
            anchor,
            patterns: raw
                .patterns
                .into_iter()
                .map(|pattern| checked(pattern, family))
                .collect(),
            capture,
            extend: raw.extend.map(raw::at),
            keywords: located(raw.keywords),
            keyword_window,
            validators: self.validators(raw.validators),
            examples: located(raw.examples),
            negative_examples: located(raw.negative_examples),
            short_literal: raw.lint.and_then(|lint| self.exceptions(raw::at(lint))),
            id: At {
                value: Arc::from(id.value),
                place: id.place,
            },
        }
    }

    fn report(
        &mut self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found
            .push(Diagnostic::new(&self.source.file, place, code, message).help(help));
    }

    /// `[A-Z]{2,5}(-[A-Z0-9]+)*-[0-9]{3}`, at most 64 bytes.
    fn id(&mut self, id: &At<String>) {
        let mut parts = id.value.split('-');
        let prefix = parts.next().unwrap_or_default();
        let number = parts.next_back().unwrap_or_default();
        let good = id.value.len() <= 64
            && (2..=5).contains(&prefix.len())
            && prefix.bytes().all(|b| b.is_ascii_uppercase())
            && number.len() == 3
            && number.bytes().all(|b| b.is_ascii_digit())
            && parts.all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            });
        if !good {
            self.report(
                id.place,
                Code::Id,
                format!("`{}` is not a rule id", id.value.escape_debug()),
                "two to five capitals, optional parts of capitals and digits, three digits: `SEC-AWS-001`",
            );
        }
    }

    fn text(&mut self, text: Spanned<String>, field: &str) -> String {
        let at = raw::at(text);
        if at.value.trim().is_empty() {
            self.report(
                at.place,
                Code::Empty,
                format!("`{field}` is empty"),
                "say it in a few words",
            );
        }
        at.value.trim().to_owned()
    }

    fn named<T>(
        &mut self,
        name: Spanned<String>,
        what: &str,
        from_name: impl Fn(&str) -> Option<T>,
        names: &str,
        stand_in: T,
    ) -> T {
        let at = raw::at(name);
        from_name(&at.value).unwrap_or_else(|| {
            self.report(
                at.place,
                Code::Name,
                format!("`{}` is not {what}", at.value.escape_debug()),
                format!("one of {names}"),
            );
            stand_in
        })
    }

    fn number(
        &mut self,
        number: Option<Spanned<u32>>,
        field: &str,
        min: u32,
        max: u32,
        default: u32,
    ) -> u32 {
        let Some(number) = number else { return default };
        let at = raw::at(number);
        if !(min..=max).contains(&at.value) {
            self.report(
                at.place,
                Code::Range,
                format!("`{field}` is {}", at.value),
                format!("from {min} to {max}"),
            );
        }
        at.value
    }

    fn family(&mut self, name: Spanned<String>) -> Family {
        self.named(
            name,
            "a family",
            Family::from_name,
            FAMILIES,
            Family::Content,
        )
    }

    fn severity(&mut self, name: Spanned<String>) -> Severity {
        self.named(
            name,
            "a severity",
            Severity::from_name,
            SEVERITIES,
            Severity::Low,
        )
    }

    fn action(&mut self, name: Spanned<String>) -> At<Action> {
        let place = raw::place(name.referenced);
        let value = self.named(name, "an action", Action::from_name, ACTIONS, Action::Alert);
        At { value, place }
    }

    fn anchor(&mut self, name: Spanned<String>) -> Anchor {
        self.named(
            name,
            "an anchor",
            Anchor::from_name,
            ANCHORS,
            Anchor::Literal,
        )
    }

    fn paranoia(&mut self, level: Option<Spanned<u32>>) -> u8 {
        let level = self.number(level, "paranoia", 1, 4, 1);
        u8::try_from(level).unwrap_or(1)
    }

    fn keyword_window(&mut self, bytes: Option<Spanned<u32>>) -> u16 {
        let default = u32::from(KEYWORD_WINDOW);
        let bytes = self.number(bytes, "keyword_window", 1, 1_024, default);
        u16::try_from(bytes).unwrap_or(KEYWORD_WINDOW)
    }

    fn capture(&mut self, group: Spanned<u32>) -> At<u8> {
        let place = raw::place(group.referenced);
        let group = self.number(Some(group), "capture", 1, 32, 1);
        At {
            value: u8::try_from(group).unwrap_or(1),
            place,
        }
    }

    fn surfaces(
        &mut self,
        rule: Place,
        surfaces: Option<Spanned<Vec<Spanned<String>>>>,
        direction: Option<Spanned<String>>,
    ) -> SurfaceSet {
        let help = "give either `direction: inbound|outbound|both` or a list of `surfaces`";
        match (surfaces, direction) {
            (Some(list), None) => {
                let place = raw::place(list.referenced);
                let mut surfaces = SurfaceSet::EMPTY;
                for name in list.value {
                    let surface = self.named(
                        name,
                        "a surface",
                        Surface::from_name,
                        SURFACES,
                        Surface::Arguments,
                    );
                    surfaces = surfaces.with(surface);
                }
                if surfaces.is_empty() {
                    self.report(place, Code::Surface, "the rule applies to no surface", help);
                }
                surfaces
            }
            (None, Some(direction)) => self.named(
                direction,
                "a direction",
                direction_from_name,
                DIRECTIONS,
                SurfaceSet::EMPTY,
            ),
            (Some(_), Some(direction)) => {
                let place = raw::place(direction.referenced);
                self.report(
                    place,
                    Code::Surface,
                    "both `surfaces` and `direction` are given",
                    help,
                );
                SurfaceSet::EMPTY
            }
            (None, None) => {
                self.report(
                    rule,
                    Code::Surface,
                    "neither `surfaces` nor `direction` is given",
                    help,
                );
                SurfaceSet::EMPTY
            }
        }
    }

    fn views(&mut self, views: Option<Spanned<Vec<Spanned<String>>>>) -> ViewSet {
        let Some(list) = views else {
            return ViewSet::ALL;
        };
        let place = raw::place(list.referenced);
        let mut views = ViewSet::EMPTY;
        for name in list.value {
            let view = self.named(name, "a view", view_from_name, VIEWS, View::Plain);
            views = views.with(view);
        }
        if views.is_empty() {
            self.report(
                place,
                Code::Surface,
                "the rule reads no view",
                format!("one or more of {VIEWS}"),
            );
        }
        views
    }

    fn validators(&mut self, all: Vec<Spanned<raw::Validator>>) -> Vec<Validator> {
        all.into_iter()
            .filter_map(|one| self.validator(&raw::at(one)))
            .collect()
    }

    fn validator(&mut self, raw: &At<raw::Validator>) -> Option<Validator> {
        match Validator::from_name(&raw.value.name, raw.value.argument) {
            Ok(validator) => Some(validator),
            Err(UnknownValidator::Name(name)) => {
                self.report(
                    raw.place,
                    Code::Name,
                    format!("`{}` is not a validator", name.escape_debug()),
                    format!("one of {}", Validator::NAMES.join(", ")),
                );
                None
            }
            Err(error @ UnknownValidator::Argument { .. }) => {
                self.report(
                    raw.place,
                    Code::Range,
                    error.to_string(),
                    "written as `name` or `{ name: number }`",
                );
                None
            }
        }
    }

    fn exceptions(&mut self, lint: At<raw::Lint>) -> Option<Place> {
        let mut short_literal = None;
        for name in lint.value.allow {
            let name = raw::at(name);
            if name.value == "short-literal" {
                short_literal = Some(name.place);
            } else {
                self.report(
                    name.place,
                    Code::Exception,
                    format!(
                        "`{}` is not a lint that can be allowed",
                        name.value.escape_debug()
                    ),
                    "only `short-literal` can",
                );
            }
        }
        if lint.value.reason.trim().is_empty() {
            self.report(
                lint.place,
                Code::Exception,
                "a lint is allowed without a reason",
                "add `reason:` and say why the rule is cheap and precise all the same",
            );
        }
        short_literal
    }
}

fn located(texts: Vec<Spanned<String>>) -> Vec<At<String>> {
    texts.into_iter().map(raw::at).collect()
}

fn checked(raw: raw::Pattern, family: Family) -> At<PatternSpec> {
    let regex = raw::at(raw.regex);
    At {
        place: regex.place,
        value: PatternSpec {
            text: regex.value,
            caseless: raw.caseless.unwrap_or_else(|| caseless(family)),
            dotall: raw.dotall,
        },
    }
}

/// Whether patterns of a family ignore case unless they say otherwise: yes for what people
/// write, no for what machines issue.
const fn caseless(family: Family) -> bool {
    match family {
        Family::Secret | Family::Pii => false,
        Family::Injection
        | Family::Exfil
        | Family::Egress
        | Family::Command
        | Family::Tool
        | Family::Content => true,
    }
}

const fn default_action(family: Family, severity: Severity) -> Action {
    match (family, severity) {
        (Family::Secret | Family::Pii, _) => Action::Redact,
        (_, Severity::High | Severity::Critical) => Action::Block,
        (_, Severity::Low | Severity::Medium) => Action::Alert,
    }
}

fn view_from_name(name: &str) -> Option<View> {
    ALL_VIEWS.into_iter().find(|view| view.as_str() == name)
}

/// `inbound` is what goes to a server, `outbound` what comes back; prompts are both.
fn direction_from_name(name: &str) -> Option<SurfaceSet> {
    Some(match name {
        "inbound" => SurfaceSet::INBOUND,
        "outbound" => SurfaceSet::OUTBOUND,
        "both" => SurfaceSet::ALL,
        _ => return None,
    })
}

const ALL_VIEWS: [View; 3] = [View::Plain, View::Normalised, View::Decoded];
const FAMILIES: &str = "injection, secret, pii, exfil, egress, command, tool, content";
const SEVERITIES: &str = "low, medium, high, critical";
const ACTIONS: &str = "pass, alert, redact, block";
const ANCHORS: &str = "literal, digits, at, url, colons";
const SURFACES: &str = "arguments, prompt, tool_result, tool_description";
const DIRECTIONS: &str = "inbound, outbound, both";
const VIEWS: &str = "plain, normalised, decoded";
