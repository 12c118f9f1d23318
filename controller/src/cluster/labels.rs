use std::collections::BTreeMap;

/// Texts by key, in the order of the keys: labels, annotations, a selector of Pods.
///
/// A map for the few entries that an object has, of which a cluster has thousands: it takes a quarter of the memory of a
/// `BTreeMap`, and is used like one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// No entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a key.
    pub fn get(&self, key: &str) -> Option<&String> {
        let place = self.place(key).ok()?;
        self.0.get(place).map(|(_, text)| text)
    }

    /// Whether there is a text of this key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// Puts a text in the place of the one of its key, which is returned.
    pub fn insert(&mut self, key: String, text: String) -> Option<String> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, text)),
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (key, text));
                None
            }
        }
    }

    /// Takes the text of a key out.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let place = self.place(key).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Leaves what is to stay.
    pub fn retain(&mut self, stays: impl Fn(&str, &str) -> bool) {
        self.0.retain(|(key, text)| stays(key, text));
        self.0.shrink_to_fit();
    }

    /// All of them, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter().map(|(key, text)| (key, text))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(key, _)| key)
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(other, _)| other.as_str().cmp(key))
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(texts: BTreeMap<String, String>) -> Self {
        // Already in order and each once; `collect` would keep the room of the map.
        let mut labels = Vec::with_capacity(texts.len());
        labels.extend(texts);
        Self(labels)
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        Self::from_iter(labels.0)
    }
}

impl<const N: usize> From<[(String, String); N]> for Labels {
    fn from(texts: [(String, String); N]) -> Self {
        BTreeMap::from(texts).into()
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(texts: I) -> Self {
        BTreeMap::from_iter(texts).into()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a String, &'a String);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, (String, String)>,
        fn(&'a (String, String)) -> (&'a String, &'a String),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, text)| (key, text))
    }
}

impl std::ops::Index<&str> for Labels {
    type Output = String;

    /// Panics where there is no such key, as that of a map does.
    fn index(&self, key: &str) -> &String {
        &self.0[self.place(key).unwrap_or(usize::MAX)].1
    }
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_order_and_each_key_once() {
        let text = str::to_owned;
        let mut labels = Labels::from([(text("c"), text("1")), (text("a"), text("2"))]);
        assert_eq!(labels.insert(text("b"), text("3")), None);
        assert_eq!(labels.insert(text("a"), text("4")), Some(text("2")));
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((&*labels["a"], labels.get("d")), ("4", None));
        assert_eq!(labels.remove("b"), Some(text("3")));
        labels.retain(|key, _| key != "c");
        assert_eq!(format!("{labels:?}"), r#"{"a": "4"}"#);
    }
}
