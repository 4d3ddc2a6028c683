//! Columns and durations as text.

/// Return the rows as lines whose columns begin at the same place.
pub fn aligned(rows: &[[String; 3]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    rows.iter().map(|row| format!("{:<first$}   {:<second$}   {}", row[0], row[1], row[2])).collect()
}

/// Return a duration as `1 h 2 min`, `3 min 4 s` or `5 s`.
pub fn in_words(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
