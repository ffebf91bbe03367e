//! What a pack's decision is learned from: the pack's own words, and those of [`builtin`] that fit it.
//!
//! A few examples say little of how people ask. So every text that is known of an intent counts as evidence, each kind
//! by its weight: utterances and titles most, the answer less, and of the built-in topics those that mean the same.
//!
//! What becomes of a topic of [`builtin`], by the cosine between its centre and those of the pack's intents:
//!
//! | the nearest intent | the topic |
//! |---|---|
//! | means the same (`JOINS`) | teaches that intent |
//! | is related (`RELATED`) | is left out: it is neither that intent nor surely something else |
//! | is another matter | is an intent of its own if it is small talk, and part of the background if not |
//!
//! A text of the built-in background is left out where an example of the pack says nearly the same (`SAME`).

use std::collections::{BTreeMap, BTreeSet};

use hoopoe_message::Language;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use crate::builtin::{Topic, builtin};
use crate::pack::{Pack, SmallTalk};
use crate::vectors::matrix;

/// From this cosine on, a topic and the intent that is nearest to it in both directions mean the same, if no other
/// intent is about as near ([`JOINS_BY`]).
const JOINS: f32 = 0.60;
const JOINS_BY: f32 = 0.05;

/// The same where the intent is nearer to another topic: `holiday_hours` beside `opening_hours`.
const JOINS_TOO: f32 = 0.65;
const JOINS_TOO_BY: f32 = 0.30;

/// The same for small talk, which can be answered beside the pack: thanks are no praise.
const SMALL_TALK_JOINS: f32 = 0.80;

/// From this cosine on, a topic is too near to an intent to stand against it.
const RELATED: f32 = 0.45;

/// From this cosine on, two texts say the same. Unlike the ones above, it is between the vectors as they are, in which
/// unrelated texts have 0.8.
pub(crate) const SAME: f32 = 0.93;

/// What a text counts for within its intent, before each intent is made to count the same.
const TITLE: f32 = 1.0;
const UTTERANCE: f32 = 1.0;
const ANSWER: f32 = 0.5;
const TOPIC: f32 = 0.3;

/// What the background counts for, where an intent counts 1: its texts together, and the common questions among it.
const BACKGROUND: f32 = 10.0;
const COMMON_QUESTIONS: f32 = 5.0;

/// Wordings of a common question, in each language, to which a question's distance is measured when it is answered: the
/// ones that are nearest to the centre. The classifier learns from all.
const NEAREST_OF_TOPIC: usize = 1;

/// The texts of a pack and of [`builtin`], before it is known what the latter mean beside the pack.
#[derive(Debug)]
pub struct Corpus<'p> {
    pack: &'p Pack,
    texts: Vec<Text<'p>>,
}

#[derive(Clone, Copy, Debug)]
struct Text<'p> {
    words: &'p str,
    language: Language,
    origin: Origin,
}

/// Where a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Place of the intent.
    Title(usize),
    Utterance(usize),
    Answer(usize),
    /// The pack's.
    Background,
    BuiltinBackground,
    /// Place in [`Builtin::topics`](crate::builtin::Builtin::topics).
    Topic(usize),
}

/// What a text is when some are held out to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// An utterance of an intent.
    Utterances(usize, Language),
    /// A text of the background.
    Background(Language),
    /// Not to be held out.
    Kept,
}

impl Group {
    /// The intent that answers the text.
    pub(crate) fn intent(self) -> Option<usize> {
        match self {
            Self::Utterances(intent, _) => Some(intent),
            Self::Background(_) | Self::Kept => None,
        }
    }
}

/// What became of the built-in topics and texts.
#[derive(Debug)]
pub struct Lessons<'p> {
    /// The small talk that the bot answers with its built-in words; its classes come after those of the pack's intents.
    pub small_talk: Vec<&'static Topic>,
    /// What each text teaches, in the order of [`Corpus::texts`]; `None` for a text that is left out.
    pub lessons: Vec<Option<Lesson>>,
    /// The class of the background, which is the last.
    pub background: usize,
    /// How much evidence there is for the median intent in one of the pack's languages, counted in utterances.
    pub evidence: f32,
    /// What joined an intent or was left out, for people.
    pub notices: Vec<Notice<'p>>,
}

impl Lessons<'_> {
    /// The number of the pack's intents, which are the first classes.
    pub(crate) fn intents(&self) -> usize {
        self.background - self.small_talk.len()
    }

    /// The number of classes: the pack's intents, the small talk, and the background.
    pub(crate) fn classes(&self) -> usize {
        self.background + 1
    }
}

/// What a text teaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lesson {
    /// A pack's intent, then the small talk, then the background.
    pub class: usize,
    /// How much it counts among all lessons; a class's lessons together count the same as another's, the background's
    /// more.
    pub weight: f32,
    /// Whether a question's distance to it is measured when it is answered.
    pub neighbour: bool,
}

/// Something built in that meets something of the pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice<'p> {
    /// A topic means the same as an intent, and teaches it.
    Joined {
        /// The topic's id.
        topic: &'static str,
        /// The intent's id.
        intent: &'p str,
        /// Whether the bot would answer the topic by itself.
        small_talk: bool,
    },
    /// A text of the built-in background says the same as an example of the pack.
    SteppedBack {
        /// The text.
        text: &'p str,
        /// The intent's id.
        intent: &'p str,
    },
}

impl<'p> Corpus<'p> {
    /// Everything that may teach the pack's decision.
    #[must_use]
    pub fn new(pack: &'p Pack) -> Self {
        let mut texts = Vec::new();
        for (place, intent) in pack.intents.iter().enumerate() {
            let titles = intent.title.iter().map(|(&language, text)| (language, text, Origin::Title(place)));
            let utterances = intent.utterances.iter().flat_map(|(&language, texts)| {
                texts.iter().map(move |text| (language, text, Origin::Utterance(place)))
            });
            let answers = intent.answers.iter().map(|(&language, text)| (language, text, Origin::Answer(place)));
            let of_intent = titles.chain(utterances).chain(answers);
            texts.extend(of_intent.map(|(language, text, origin)| Text { words: text.trim(), language, origin }));
        }
        for (&language, background) in &pack.background {
            texts.extend(background.iter().map(|text| Text { words: text, language, origin: Origin::Background }));
        }
        let builtin = builtin();
        if pack.settings.builtin.background {
            for (&language, background) in &builtin.background {
                let origin = Origin::BuiltinBackground;
                texts.extend(background.iter().map(|words| Text { words, language, origin }));
            }
        }
        let small_talk = pack.settings.builtin.small_talk != SmallTalk::Only(Vec::new());
        for (place, topic) in builtin.topics.iter().enumerate() {
            if pack.settings.builtin.background || (small_talk && topic.reply.is_some()) {
                for (&language, wordings) in &topic.wordings {
                    let origin = Origin::Topic(place);
                    texts.extend(wordings.iter().map(|words| Text { words, language, origin }));
                }
            }
        }
        Self { pack, texts }
    }

    /// The texts, always in the same order.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &'p str> + use<'p, '_> {
        self.texts.iter().map(|text| text.words)
    }

    /// The language of each text.
    pub(crate) fn languages(&self) -> impl ExactSizeIterator<Item = Language> + use<'_> {
        self.texts.iter().map(|text| text.language)
    }

    /// What each text is when some are held out.
    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = Group> + use<'_> {
        self.texts.iter().map(|text| match text.origin {
            Origin::Utterance(intent) => Group::Utterances(intent, text.language),
            Origin::Background | Origin::BuiltinBackground => Group::Background(text.language),
            Origin::Title(_) | Origin::Answer(_) | Origin::Topic(_) => Group::Kept,
        })
    }

    /// Decides what each text teaches, but for those that are held out. `vectors` are those of [`Self::texts`], one
    /// after the other.
    ///
    /// `None` where they are not as many, or where there is nothing to learn from.
    #[must_use]
    pub fn lessons(&self, vectors: &[f32], held_out: impl Fn(usize) -> bool) -> Option<Lessons<'p>> {
        let vectors = matrix(vectors, self.texts.len())?;
        let seen: Vec<bool> = (0..self.texts.len()).map(|nth| !held_out(nth)).collect();
        let places = self.places(vectors, &seen)?;
        let intents = self.pack.intents.len();
        let alone: Vec<usize> =
            places.iter().filter(|(_, place)| **place == Place::Alone).map(|(&topic, _)| topic).collect();
        let background = intents + alone.len();

        let mut notices: Vec<Notice<'p>> = Vec::new();
        for (&topic, &place) in &places {
            if let Place::Joins(intent) = place {
                let topic = &builtin().topics[topic];
                notices.push(Notice::Joined {
                    topic: &topic.id,
                    intent: self.id(intent),
                    small_talk: topic.reply.is_some(),
                });
            }
        }
        let nearest_of_topics = self.nearest_of_topics(vectors, &places);
        let examples = self.examples(vectors, &seen);
        let mut lessons: Vec<Option<Lesson>> = Vec::with_capacity(self.texts.len());
        for (nth, (text, vector)) in self.texts.iter().zip(vectors.rows()).enumerate() {
            let lesson = |class, weight, neighbour| Some(Lesson { class, weight, neighbour });
            if !seen[nth] {
                lessons.push(None);
                continue;
            }
            lessons.push(match text.origin {
                Origin::Title(intent) => lesson(intent, TITLE, true),
                Origin::Utterance(intent) => lesson(intent, UTTERANCE, true),
                Origin::Answer(intent) => lesson(intent, ANSWER, true),
                Origin::Background => lesson(background, BACKGROUND, true),
                Origin::BuiltinBackground => match nearest(&examples, vector) {
                    (intent, cosine) if cosine >= SAME => {
                        notices.push(Notice::SteppedBack { text: text.words, intent: self.id(intent) });
                        None
                    }
                    _ => lesson(background, BACKGROUND, true),
                },
                Origin::Topic(topic) => match places[&topic] {
                    Place::Joins(intent) => lesson(intent, TOPIC, false),
                    Place::Alone => {
                        let place = alone.iter().position(|&other| other == topic);
                        place.and_then(|place| lesson(intents + place, UTTERANCE, true))
                    }
                    Place::Background => lesson(background, COMMON_QUESTIONS, nearest_of_topics.contains(&nth)),
                    Place::LeftOut => None,
                },
            });
        }
        let evidence = self.evidence(&lessons);
        self.balance(&mut lessons, background);
        let small_talk = alone.into_iter().map(|topic| &builtin().topics[topic]).collect();
        Some(Lessons { small_talk, lessons, background, evidence, notices })
    }

    fn id(&self, intent: usize) -> &'p str {
        &self.pack.intents[intent].id
    }

    /// The weight of the lessons of the median intent in a language, before they are balanced.
    fn evidence(&self, lessons: &[Option<Lesson>]) -> f32 {
        let languages = &self.pack.settings.languages;
        let mut sums = vec![0.0_f32; self.pack.intents.len()];
        for (text, lesson) in self.texts.iter().zip(lessons) {
            if let Some(lesson) = lesson
                && languages.contains(&text.language)
                && let Some(sum) = sums.get_mut(lesson.class)
            {
                *sum += lesson.weight;
            }
        }
        sums.sort_by(f32::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "a pack has a few languages")]
        let languages = languages.len() as f32;
        sums.get(sums.len() / 2).copied().unwrap_or_default() / languages
    }

    /// Makes the lessons of each intent count 1 together, and those of the background's two parts what they are to.
    fn balance(&self, lessons: &mut [Option<Lesson>], background: usize) {
        let part = |text: &Text<'_>, lesson: &Lesson| {
            (lesson.class, lesson.class == background && matches!(text.origin, Origin::Topic(_)))
        };
        let mut sums: BTreeMap<(usize, bool), f32> = BTreeMap::new();
        for (text, lesson) in self.texts.iter().zip(&*lessons) {
            if let Some(lesson) = lesson {
                *sums.entry(part(text, lesson)).or_default() += lesson.weight;
            }
        }
        for (text, lesson) in self.texts.iter().zip(lessons) {
            if let Some(lesson) = lesson {
                let total = match part(text, lesson) {
                    (class, _) if class != background => 1.0,
                    (_, false) => BACKGROUND,
                    (_, true) => COMMON_QUESTIONS,
                };
                lesson.weight *= total / sums[&part(text, lesson)];
            }
        }
    }

    /// What becomes of each topic.
    fn places(&self, vectors: ArrayView2<'_, f32>, seen: &[bool]) -> Option<BTreeMap<usize, Place>> {
        let common = self.common_part(vectors)?;
        let intents = self.centres(vectors, &common, seen, |origin| match origin {
            Origin::Title(intent) | Origin::Utterance(intent) => Some(intent),
            _ => None,
        });
        let topics = self.centres(vectors, &common, seen, |origin| match origin {
            Origin::Topic(topic) => Some(topic),
            _ => None,
        });
        let cosine = |topic: usize, intent: usize| topics[&topic].dot(&intents[&intent]);
        let nearest_topic =
            |intent: usize| topics.keys().copied().max_by(|&a, &b| cosine(a, intent).total_cmp(&cosine(b, intent)));
        let place = |topic: usize| {
            let Topic { id, reply, .. } = &builtin().topics[topic];
            if let Some(same_id) = self.pack.intents.iter().position(|intent| *intent.id == *id) {
                return Place::Joins(same_id);
            }
            let mut near: Vec<(f32, usize)> = intents.keys().map(|&intent| (cosine(topic, intent), intent)).collect();
            near.sort_by(|a, b| b.0.total_cmp(&a.0));
            let (first, intent) = near.first().copied().unwrap_or((f32::NEG_INFINITY, 0));
            let lead = first - near.get(1).map_or(-1.0, |second| second.0);
            let small_talk = reply.is_some() && self.makes(id);
            let both_ways = lead >= JOINS_BY && nearest_topic(intent) == Some(topic);
            let joins = both_ways && first >= if small_talk { SMALL_TALK_JOINS } else { JOINS };
            if joins || (!small_talk && first >= JOINS_TOO && lead >= JOINS_TOO_BY) {
                Place::Joins(intent)
            } else if small_talk {
                Place::Alone
            } else if first < RELATED {
                Place::Background
            } else {
                Place::LeftOut
            }
        };
        Some(topics.keys().map(|&topic| (topic, place(topic))).collect())
    }

    /// Whether the bot makes this small talk: it is on, and can be answered in the pack's default language.
    fn makes(&self, id: &str) -> bool {
        let settings = &self.pack.settings;
        let on = match &settings.builtin.small_talk {
            SmallTalk::All => true,
            SmallTalk::Only(ids) => ids.iter().any(|on| on == id),
        };
        on && builtin().background.contains_key(&settings.default_language)
    }

    /// What all sentence vectors have in common, which says nothing: without it unrelated texts have a cosine of 0.
    fn common_part(&self, vectors: ArrayView2<'_, f32>) -> Option<Array1<f32>> {
        let is_background = |origin: Origin| matches!(origin, Origin::Background | Origin::BuiltinBackground);
        let background: Vec<usize> =
            (0..self.texts.len()).filter(|&nth| is_background(self.texts[nth].origin)).collect();
        if background.is_empty() {
            vectors.mean_axis(Axis(0))
        } else {
            vectors.select(Axis(0), &background).mean_axis(Axis(0))
        }
    }

    /// The middle of each group's texts, as unit vectors without their common part.
    fn centres(
        &self,
        vectors: ArrayView2<'_, f32>,
        common: &Array1<f32>,
        seen: &[bool],
        group: impl Fn(Origin) -> Option<usize>,
    ) -> BTreeMap<usize, Array1<f32>> {
        let mut centres: BTreeMap<usize, Array1<f32>> = BTreeMap::new();
        for ((text, vector), _) in self.texts.iter().zip(vectors.rows()).zip(seen).filter(|(_, seen)| **seen) {
            if let Some(group) = group(text.origin) {
                let own = unit(&vector - common);
                centres.entry(group).and_modify(|sum| *sum += &own).or_insert(own);
            }
        }
        centres.into_iter().map(|(group, sum)| (group, unit(sum))).collect()
    }

    /// The places of the wordings that stand for the topics of the background.
    fn nearest_of_topics(&self, vectors: ArrayView2<'_, f32>, places: &BTreeMap<usize, Place>) -> BTreeSet<usize> {
        let mut groups: BTreeMap<(usize, Language), Vec<usize>> = BTreeMap::new();
        for (nth, text) in self.texts.iter().enumerate() {
            if let Origin::Topic(topic) = text.origin
                && places[&topic] == Place::Background
            {
                groups.entry((topic, text.language)).or_default().push(nth);
            }
        }
        let mut nearest = BTreeSet::new();
        for mut group in groups.into_values() {
            let middle = vectors.select(Axis(0), &group).sum_axis(Axis(0));
            group.sort_by(|&a, &b| vectors.row(b).dot(&middle).total_cmp(&vectors.row(a).dot(&middle)));
            nearest.extend(group.into_iter().take(NEAREST_OF_TOPIC));
        }
        nearest
    }

    /// The titles and utterances of the intents.
    fn examples(&self, vectors: ArrayView2<'_, f32>, seen: &[bool]) -> (Vec<usize>, Array2<f32>) {
        let of_intent = |nth: &usize| match self.texts[*nth].origin {
            Origin::Title(intent) | Origin::Utterance(intent) => Some(intent),
            _ => None,
        };
        let rows: Vec<usize> = (0..self.texts.len()).filter(|nth| seen[*nth] && of_intent(nth).is_some()).collect();
        (rows.iter().filter_map(of_intent).collect(), vectors.select(Axis(0), &rows))
    }
}

/// What becomes of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It teaches this intent.
    Joins(usize),
    /// It is an intent of its own.
    Alone,
    Background,
    LeftOut,
}

/// The intent of the example that is nearest to a vector, and the cosine between them; of none, -1.
fn nearest((intents, examples): &(Vec<usize>, Array2<f32>), vector: ArrayView1<'_, f32>) -> (usize, f32) {
    let cosines = examples.dot(&vector);
    let best = (0..cosines.len()).max_by(|&a, &b| cosines[a].total_cmp(&cosines[b]));
    best.map_or((0, -1.0), |best| (intents[best], cosines[best]))
}

fn unit(vector: Array1<f32>) -> Array1<f32> {
    let length = vector.dot(&vector).sqrt().max(f32::MIN_POSITIVE);
    vector / length
}
