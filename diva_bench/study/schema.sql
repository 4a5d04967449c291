-- The tables of a study, version 2. Times are UTC in ISO 8601; lists are JSON.
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE raters (
    rater TEXT PRIMARY KEY,              -- HMAC-SHA256 of the name
    simulated TEXT NOT NULL DEFAULT '',  -- scorer or judge that votes; '' for a person
    seed INTEGER NOT NULL,
    started TEXT NOT NULL,
    consent TEXT NOT NULL DEFAULT '',    -- sha256 of the text that the rater agreed to
    keeps INTEGER NOT NULL DEFAULT 0,    -- 1: the rater agreed that recordings are kept
    questions TEXT NOT NULL DEFAULT '{}',
    code TEXT NOT NULL DEFAULT '',
    finished TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE links (token TEXT PRIMARY KEY, rater TEXT NOT NULL DEFAULT '', used TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE sessions (token TEXT PRIMARY KEY, rater TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE TABLE assignments (
    id TEXT PRIMARY KEY,
    rater TEXT NOT NULL,
    item TEXT NOT NULL,
    shown TEXT NOT NULL,                 -- systems in the order on the page
    expected TEXT,                       -- right choice of an attention check
    state TEXT NOT NULL DEFAULT 'open',  -- open, voted, failed (a system gave no answer)
    at TEXT NOT NULL,
    shown_at TEXT NOT NULL DEFAULT '',
    UNIQUE (rater, item)
) STRICT;
CREATE INDEX assignments_of_items ON assignments (item, shown, state, at) WHERE expected IS NULL;
CREATE TABLE answers (
    item TEXT NOT NULL,
    system TEXT NOT NULL,
    text TEXT NOT NULL,
    rater TEXT,                          -- whose recording was answered; NULL for stored clips
    version TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (item, system)
) STRICT;
CREATE TABLE votes (
    id TEXT PRIMARY KEY,
    rater TEXT,
    item TEXT NOT NULL,
    systems TEXT NOT NULL,
    shown TEXT,
    choice TEXT NOT NULL,
    expected TEXT,
    shown_at TEXT NOT NULL,
    at TEXT NOT NULL,
    versions TEXT NOT NULL
) STRICT;
CREATE INDEX votes_of_raters ON votes (rater);
CREATE TABLE recordings (
    id TEXT PRIMARY KEY, rater TEXT NOT NULL, item TEXT NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE failures (                  -- questions that a system did not answer; nobody votes on them
    item TEXT NOT NULL, system TEXT NOT NULL, rater TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE withdrawals (
    rater TEXT PRIMARY KEY, at TEXT NOT NULL, votes INTEGER NOT NULL, recordings INTEGER NOT NULL
) STRICT;

CREATE TRIGGER votes_do_not_change BEFORE UPDATE ON votes
BEGIN SELECT RAISE(ABORT, 'votes do not change'); END;
CREATE TRIGGER votes_stay BEFORE DELETE ON votes
WHEN OLD.rater IS NULL OR NOT EXISTS (SELECT 1 FROM withdrawals WHERE rater = OLD.rater)
BEGIN SELECT RAISE(ABORT, 'votes are deleted only when their rater withdraws'); END;
CREATE TRIGGER withdrawn_raters_do_not_vote BEFORE INSERT ON votes
WHEN EXISTS (SELECT 1 FROM withdrawals WHERE rater = NEW.rater)
BEGIN SELECT RAISE(ABORT, 'the rater has withdrawn'); END;
CREATE TRIGGER withdrawals_do_not_change BEFORE UPDATE ON withdrawals
BEGIN SELECT RAISE(ABORT, 'withdrawals do not change'); END;
CREATE TRIGGER withdrawals_stay BEFORE DELETE ON withdrawals
BEGIN SELECT RAISE(ABORT, 'withdrawals stay'); END;
