//! The reference of the configuration, made from what `config/file` says of each field.

use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema};

use crate::config::file;
use mirrorball_core::data::rsync_options::RsyncOptions;

/// One struct of the configuration, or one kind of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// As it is written, such as `Root(…)`.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Its fields and what they mean, in Markdown without links.
    pub fields: Vec<(String, String)>,
}

/// All of it, from the outside in.
pub fn sections() -> Vec<Section> {
    let mut sections = vec![
        section::<file::File>("Config", ""),
        section::<file::Control>("Control", "The field `control`."),
        section::<file::Log>("Log", "The field `log`."),
        section::<file::GlobalLimits>("Limits", "The field `limits` of `Config`."),
    ];
    sections.extend(variants::<file::Host>());
    sections.extend([
        section::<file::HostLimits>("Limits", "The field `limits` of a host."),
        section::<file::Retry>("Retry", "The field `retry` of a host."),
        section::<RsyncOptions>("Rsync", "The field `rsync` of a host or a mirror."),
        section::<file::Root>("Root", "One of `roots`."),
        words::<file::Filter>("filters", "An item of the field `filters` of a root."),
        words::<file::Watch>("watch", "The field `watch` of a root."),
        section::<file::Mirror>("mirrors", "An item of the field `mirrors` of a root."),
        section::<file::Hook>("Hook", "An item of the field `hooks` of a root or a mirror."),
    ]);
    sections
}

/// The same as Markdown: a heading and a table for each.
pub fn markdown() -> String {
    let mut text = String::new();
    for Section { name, about, fields } in sections() {
        text.push_str(&format!("### {name}\n\n{about}\n\n"));
        if !fields.is_empty() {
            text.push_str("| | |\n| --- | --- |\n");
        }
        for (name, about) in &fields {
            text.push_str(&format!("| `{name}` | {} |\n", about.replace('|', "\\|")));
        }
        text.push('\n');
    }
    text.replace("\n\n\n", "\n\n")
}

fn section<T: PartialSchema>(name: &str, place: &str) -> Section {
    let object = object(&T::schema());
    let about = [place, object.description.as_deref().unwrap_or_default()];
    Section { name: name.into(), about: about.join(" ").trim().into(), fields: fields(&object) }
}

/// An enum whose variants have fields: a section for each, those that all have in the last.
fn variants<T: PartialSchema>() -> Vec<Section> {
    let mut sections: Vec<Section> = alternatives::<T>()
        .into_iter()
        .filter_map(|item| {
            let (name, inside) = item.properties.iter().next()?;
            let about = item.description.clone().unwrap_or_default();
            Some(Section { name: name.clone(), about, fields: fields(&object(inside)) })
        })
        .collect();
    let is_common = |field: &(String, String)| sections.iter().all(|it| it.fields.contains(field));
    let first = sections.first().map_or(&[][..], |section| &section.fields);
    let common: Vec<_> = first.iter().filter(|field| is_common(field)).cloned().collect();
    for section in &mut sections {
        section.fields.retain(|field| !common.contains(field));
    }
    let about = "What each kind of host takes besides.".into();
    sections.push(Section { name: "Every host".into(), about, fields: common });
    sections
}

/// An enum of words, some of which take an argument.
fn words<T: PartialSchema>(name: &str, place: &str) -> Section {
    let word = |item: Object| {
        let about = item.description.clone().unwrap_or_default();
        let name = match item.properties.keys().next() {
            Some(name) => format!("{name}(\"…\")"),
            None => item.enum_values?.first()?.as_str()?.into(),
        };
        Some((name, about))
    };
    let about = match T::schema() {
        RefOr::T(Schema::OneOf(one)) => one.description.unwrap_or_default(),
        _ => String::new(),
    };
    Section {
        name: name.into(),
        about: format!("{place} {about}"),
        fields: alternatives::<T>().into_iter().filter_map(word).collect(),
    }
}

fn alternatives<T: PartialSchema>() -> Vec<Object> {
    match T::schema() {
        RefOr::T(Schema::OneOf(one)) => one.items.iter().map(object).collect(),
        _ => Vec::new(),
    }
}

fn fields(object: &Object) -> Vec<(String, String)> {
    let about = |(name, schema): (&String, &RefOr<Schema>)| (name.clone(), description(schema));
    object.properties.iter().map(about).collect()
}

fn object(schema: &RefOr<Schema>) -> Object {
    match schema {
        RefOr::T(Schema::Object(object)) => object.clone(),
        _ => Object::default(),
    }
}

/// In one line.
fn description(schema: &RefOr<Schema>) -> String {
    let text = match schema {
        RefOr::Ref(it) => Some(it.description.clone()),
        RefOr::T(Schema::Object(it)) => it.description.clone(),
        RefOr::T(Schema::Array(it)) => it.description.clone(),
        RefOr::T(Schema::OneOf(it)) => {
            let inside = || it.items.iter().map(description).find(|text| !text.is_empty());
            it.description.clone().or_else(inside)
        }
        RefOr::T(Schema::AllOf(it)) => it.description.clone(),
        RefOr::T(_) => None,
    };
    text.unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "docs/configuration.md";
    const BEGIN: &str =
        "<!-- From src/config/file.rs, by UPDATE=1 cargo test --lib reference -->\n\n";
    const END: &str = "<!-- So far. -->";

    #[test]
    fn the_reference_is_what_the_code_says() {
        let file = std::fs::read_to_string(FILE).unwrap();
        let (before, rest) = file.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let text = [before, BEGIN, &markdown(), END, after].concat();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(FILE, &text).unwrap();
        }
        assert!(std::fs::read_to_string(FILE).unwrap() == text, "UPDATE=1 writes {FILE} anew");
    }

    #[test]
    fn everything_has_a_name_and_says_what_it_is() {
        for section in sections() {
            assert!(!section.about.is_empty(), "{section:?}");
            let says = |(name, about): &(String, String)| !name.is_empty() && !about.is_empty();
            assert!(section.fields.iter().all(says), "{section:?}");
        }
    }
}
