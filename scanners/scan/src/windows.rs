//! Stretches of the buffer in which patterns may match.
//!
//! Enters: stretches as they are found, in any order. Leaves: for each pattern, disjoint windows in
//! order. It knows nothing of what a pattern is.

/// One window of one pattern, half open, in bytes of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Window {
    pub(crate) pattern: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// The windows of one message.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    list: Vec<Window>,
    /// For each pattern, the place of its last window, plus one; 0 if it has none.
    last: Vec<u32>,
}

impl Windows {
    pub(crate) fn new(patterns: usize) -> Self {
        Self {
            list: Vec::new(),
            last: vec![0; patterns],
        }
    }

    pub(crate) fn clear(&mut self) {
        for window in self.list.drain(..) {
            if let Some(last) = self.last.get_mut(window.pattern as usize) {
                *last = 0;
            }
        }
        self.list.shrink_to(1 << 14);
    }

    /// `pattern` may match within `start..end`.
    #[inline]
    pub(crate) fn add(&mut self, pattern: u32, start: u32, end: u32) {
        let Some(last) = self.last.get_mut(pattern as usize) else {
            return;
        };
        let before = last
            .checked_sub(1)
            .and_then(|place| self.list.get_mut(place as usize));
        if let Some(window) = before
            && start <= window.end
            && window.start <= end
        {
            window.start = window.start.min(start);
            window.end = window.end.max(end);
            return;
        }
        self.list.push(Window {
            pattern,
            start,
            end,
        });
        *last = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
    }

    /// Puts the windows in order, pattern by pattern, and makes one of those that touch. Until the
    /// next [`Windows::clear`] nothing may be added.
    pub(crate) fn settle(&mut self) -> &[Window] {
        self.list.sort_unstable();
        self.list.dedup_by(|next, window| {
            let touch = next.pattern == window.pattern && next.start <= window.end;
            if touch {
                window.end = window.end.max(next.end);
            }
            touch
        });
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(windows: &mut Windows) -> Vec<(u32, u32, u32)> {
        let list = windows.settle().iter();
        list.map(|w| (w.pattern, w.start, w.end)).collect()
    }

    #[test]
    fn windows_merge_where_they_touch() {
        let mut windows = Windows::new(2);
        for end in [40, 41, 10, 12, 15] {
            windows.add(1, end - 5, end);
        }
        windows.add(0, 7, 12);
        windows.add(1, 1, 4);
        windows.add(1, 3, 5);
        assert_eq!(settled(&mut windows), [(0, 7, 12), (1, 1, 15), (1, 35, 41)]);
        windows.clear();
        windows.add(1, 2, 7);
        assert_eq!(settled(&mut windows), [(1, 2, 7)]);
    }

    #[test]
    fn patterns_that_do_not_exist_have_none() {
        let mut windows = Windows::new(1);
        windows.add(1, 2, 7);
        assert!(settled(&mut windows).is_empty());
    }
}
