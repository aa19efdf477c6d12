//! Times of the week as people write them: when something holds, and when something begins. What time it is where the
//! daemon runs is an argument.

use std::str::FromStr;

use chrono::{DateTime, Datelike, TimeZone, Timelike};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

const DAY_MINUTES: u16 = 24 * 60;
const WEEK_MINUTES: u16 = 7 * DAY_MINUTES;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A minute of the week as a clock on the wall shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeekMinute(u16);

impl WeekMinute {
    /// The minute that this time is in.
    pub fn of(time: &(impl Datelike + Timelike)) -> Self {
        let day = time.weekday().num_days_from_monday();
        Self((day * u32::from(DAY_MINUTES) + time.hour() * 60 + time.minute()) as u16)
    }

    fn after(self, minutes: u16) -> Self {
        Self((self.0 + minutes) % WEEK_MINUTES)
    }
}

/// From one time of the day to another, on some days: `08:00-18:00`, `Mon-Fri 22:00-06:00`, `Sat,Sun 00:00-24:00`. One
/// that passes midnight belongs to the day on which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    days: [bool; 7],
    /// Minutes after midnight.
    from: u16,
    /// How long it lasts, at most a day.
    minutes: u16,
}

impl Window {
    /// Whether it lasts at this minute.
    pub fn contains(&self, at: WeekMinute) -> bool {
        let begun = |day: usize| {
            let begin = day as u16 * DAY_MINUTES + self.from;
            (at.0 + WEEK_MINUTES - begin) % WEEK_MINUTES < self.minutes
        };
        (0..7).any(|day| self.days[day] && begun(day))
    }

    /// Whether there is a minute in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let mut week = (0..WEEK_MINUTES).map(WeekMinute);
        week.any(|minute| self.contains(minute) && other.contains(minute))
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || {
            let expected =
                "Expected times of the day such as \"08:00-18:00\" or \"Mon-Fri 22:00-06:00\"";
            format!("{expected}, found {text:?}")
        };
        let (days, times) = match text.trim().rsplit_once(' ') {
            Some((days, times)) => (days_of(days.trim()).ok_or_else(fault)?, times),
            None => ([true; 7], text.trim()),
        };
        let (from, to) = times.split_once('-').ok_or_else(fault)?;
        let from = minute_of(from).filter(|from| *from < DAY_MINUTES).ok_or_else(fault)?;
        let to = minute_of(to).ok_or_else(fault)?;
        if to == from {
            return Err(format!(
                "{text:?} begins and ends at once; a whole day is \"00:00-24:00\""
            ));
        }
        let minutes = if to > from { to - from } else { to + DAY_MINUTES - from };
        Ok(Self { days, from, minutes })
    }
}

/// `Mon-Fri`, `Sat,Sun`, `Fri-Mon,Wed`.
fn days_of(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name.trim()));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        (0..=(last + 7 - first) % 7).for_each(|more| days[(first + more) % 7] = true);
    }
    Some(days)
}

/// `18:00` as minutes; `24:00` is the end of a day.
fn minute_of(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<u16>().ok())?
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= DAY_MINUTES).then_some(total)
}

/// For how many minutes from this one on there is always one of these windows; none if there is none now. At most a
/// week: there may be no end.
pub fn minutes_left(windows: &[Window], at: WeekMinute) -> Option<u16> {
    let lasts = |minutes: &u16| windows.iter().any(|window| window.contains(at.after(*minutes)));
    let left = (0..WEEK_MINUTES).take_while(lasts).count() as u16;
    (left > 0).then_some(left)
}

/// Bytes a second, by the time of the week.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Outside of all windows; none: unlimited.
    pub usually: Option<u64>,
    /// In these windows, no two of which overlap; none: unlimited.
    pub timetable: Vec<(Window, Option<u64>)>,
}

impl Bandwidth {
    /// What holds at this minute; none: unlimited.
    pub fn at(&self, minute: WeekMinute) -> Option<u64> {
        let now = self.timetable.iter().find(|(window, _)| window.contains(minute));
        now.map_or(self.usually, |(_, rate)| *rate)
    }

    /// The most that ever holds; none: unlimited.
    pub fn max(&self) -> Option<u64> {
        let rates = self.timetable.iter().map(|(_, rate)| *rate);
        // Nothing is less than a rate, and unlimited is more.
        rates
            .chain([self.usually])
            .map(|rate| rate.unwrap_or(u64::MAX))
            .max()
            .filter(|it| *it < u64::MAX)
    }

    /// Whether it is ever limited.
    pub fn is_limited(&self) -> bool {
        self.usually.is_some() || self.timetable.iter().any(|(_, rate)| rate.is_some())
    }
}

/// When something begins, in cron's notation: minute, hour, day of the month, month, day of the week. See `crontab(5)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetTimes(Cron);

impl SetTimes {
    /// The first time after this one. Where a change of the clocks leaves out a single time of a day, that is made up for;
    /// one that comes twice counts once. Of several times a day those that are left out are.
    pub fn next_after<Z: TimeZone>(&self, time: &DateTime<Z>) -> Option<DateTime<Z>> {
        self.0.find_next_occurrence(time, false).ok()
    }
}

impl FromStr for SetTimes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let expected =
            "Expected times in cron's notation, such as \"30 3 * * *\" for each day at 03:30";
        let cron =
            parser.parse(text).map_err(|why| format!("{expected}, found {text:?}: {why}"))?;
        let times = Self(cron);
        // Looking for what never comes takes long, and would be done again and again.
        if times.next_after(&DateTime::UNIX_EPOCH).is_none() {
            return Err(format!("{expected}, found {text:?}, which never comes"));
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{NaiveDate, Utc};

    fn at(day: usize, hour: u16, minute: u16) -> WeekMinute {
        WeekMinute(day as u16 * DAY_MINUTES + hour * 60 + minute)
    }

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_holds_from_its_first_minute_to_before_its_last() {
        let day = window("08:00-18:00");
        assert!(!day.contains(at(3, 7, 59)) && day.contains(at(3, 8, 0)));
        assert!(day.contains(at(6, 17, 59)) && !day.contains(at(6, 18, 0)));
        let all = window("00:00-24:00");
        assert!((0..WEEK_MINUTES).all(|minute| all.contains(WeekMinute(minute))));
    }

    #[test]
    fn one_that_passes_midnight_belongs_to_the_day_on_which_it_begins() {
        let nights = window("Fri-Sun 22:00-06:00");
        assert!(!nights.contains(at(4, 5, 0)), "Thursday's night is none");
        assert!(nights.contains(at(4, 23, 0)) && nights.contains(at(5, 5, 59)));
        assert!(nights.contains(at(0, 5, 59)), "Sunday's ends on Monday");
        assert!(!nights.contains(at(0, 22, 0)));
    }

    #[test]
    fn days_are_named_alone_in_rows_and_around_the_week() {
        let days = |text: &str| {
            let window = window(&format!("{text} 12:00-13:00"));
            (0..7).filter(|day| window.contains(at(*day, 12, 0))).collect::<Vec<_>>()
        };
        assert_eq!(days("mon"), [0]);
        assert_eq!(days("Sat,Sun"), [5, 6]);
        assert_eq!(days("Sat-Mon, Wed"), [0, 2, 5, 6]);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "08:00",
            "8:00-18:00",
            "08:00-24:01",
            "24:00-08:00",
            "08:60-09:00",
            "Foo 08:00-18:00",
            "Mon-",
            "+1:00-02:00",
            "08:00-08:00",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn windows_that_touch_leave_no_gap() {
        let windows = [window("Mon 08:00-12:00"), window("Mon 12:00-18:00")];
        assert!(!windows[0].overlaps(&windows[1]));
        assert_eq!(minutes_left(&windows, at(0, 11, 0)), Some(7 * 60));
        assert_eq!(minutes_left(&windows, at(0, 18, 0)), None);
        assert!(window("22:00-06:00").overlaps(&window("Tue 05:00-07:00")));
        assert_eq!(minutes_left(&[window("00:00-24:00")], at(0, 0, 0)), Some(WEEK_MINUTES));
    }

    #[test]
    fn a_rate_is_that_of_its_window() {
        let timetable = vec![(window("08:00-18:00"), Some(2)), (window("Sun 18:00-20:00"), None)];
        let bandwidth = Bandwidth { usually: Some(10), timetable };
        assert_eq!(
            [at(0, 7, 0), at(0, 9, 0), at(6, 19, 0)].map(|it| bandwidth.at(it)),
            [Some(10), Some(2), None]
        );
        assert_eq!(bandwidth.max(), None);
        assert_eq!(Bandwidth { usually: Some(10), timetable: vec![] }.max(), Some(10));
        assert!(!Bandwidth::default().is_limited());
    }

    #[test]
    fn the_minute_of_the_week_is_the_calendars() {
        let sunday =
            NaiveDate::from_ymd_opt(2026, 11, 22).unwrap().and_hms_opt(23, 59, 59).unwrap();
        assert_eq!(WeekMinute::of(&sunday), WeekMinute(WEEK_MINUTES - 1));
    }

    #[test]
    fn set_times_are_crons() {
        let times: SetTimes = "30 3 * * Sun".parse().unwrap();
        let saturday = Utc.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap();
        let next = times.next_after(&saturday).unwrap();
        assert_eq!(next.to_rfc3339(), "2026-11-22T03:30:00+00:00");
        assert_eq!(times.next_after(&next).unwrap().to_rfc3339(), "2026-11-29T03:30:00+00:00");
        for text in ["", "30 3 * *", "0 30 3 * * *", "61 * * * *", "daily", "0 0 30 2 *"] {
            assert!(text.parse::<SetTimes>().is_err(), "{text}");
        }
    }
}
