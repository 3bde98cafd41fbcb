-- A made-up harbour: stations, the instruments on them, what these measured, and who looked after them.
-- Every figure is computed here from row numbers; none of them was ever measured anywhere.
PRAGMA journal_mode = OFF;
BEGIN;

CREATE TABLE stations (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    latitude REAL NOT NULL,
    longitude REAL NOT NULL,
    depth_m REAL NOT NULL,
    since DATE NOT NULL
);
INSERT INTO stations VALUES
    (1, 'North Mole', 54.3321, 10.1539, 9.4, '2011-04-18'),
    (2, 'Kelp Bank', 54.3406, 10.1712, 14.2, '2012-05-02'),
    (3, 'Lighthouse', 54.3479, 10.1884, 11.0, '2012-05-02'),
    (4, 'Ferry Pier', 54.3194, 10.1388, 8.1, '2013-09-23'),
    (5, 'Dry Dock', 54.3158, 10.1661, 6.7, '2014-03-11'),
    (6, 'Fish Market', 54.3239, 10.1422, 5.9, '2014-03-11'),
    (7, 'Outer Buoy', 54.3811, 10.2240, 21.6, '2016-06-30'),
    (8, 'Wreck', 54.3727, 10.2013, 18.3, '2017-08-14'),
    (9, 'Sand Spit', 54.3652, 10.1790, 3.2, '2019-04-01'),
    (10, 'Yacht Basin', 54.3301, 10.1477, 4.5, '2020-04-06'),
    (11, 'River Mouth', 54.3087, 10.1299, 7.3, '2021-05-17'),
    (12, 'Seagrass Meadow', 54.3575, 10.1941, 4.9, '2023-03-20');

CREATE TABLE instruments (
    id INTEGER PRIMARY KEY,
    station_id INTEGER NOT NULL REFERENCES stations (id),
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    serial TEXT NOT NULL,
    calibrated DATE
);
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 59)
INSERT INTO instruments
SELECT i + 1, i / 5 + 1,
       CASE i % 5 WHEN 0 THEN 'thermometer' WHEN 1 THEN 'salinometer' WHEN 2 THEN 'tide gauge'
                  WHEN 3 THEN 'oxygen probe' ELSE 'current meter' END,
       CASE i % 5 WHEN 0 THEN '°C' WHEN 1 THEN 'g/kg' WHEN 2 THEN 'm' WHEN 3 THEN 'mg/l' ELSE 'm/s' END,
       'HF-' || (1000 + (i * 7919) % 8999) || '-' || substr('ABCDEFGHJKLMNPQRSTUVWXYZ', 1 + i % 24, 1),
       CASE WHEN i % 11 = 0 THEN NULL ELSE date('2025-01-06', '+' || ((i * 37) % 300) || ' days') END
FROM n;
CREATE UNIQUE INDEX instruments_serial ON instruments (serial);
CREATE INDEX instruments_station ON instruments (station_id);

CREATE TABLE readings (
    id INTEGER PRIMARY KEY,
    instrument_id INTEGER NOT NULL REFERENCES instruments (id),
    at TIMESTAMP NOT NULL,
    value REAL,
    quality INTEGER NOT NULL
);
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)
INSERT INTO readings
SELECT i + 1, i % 60 + 1,
       datetime('2026-01-01', '+' || ((i / 60) * 30) || ' minutes'),
       CASE WHEN (i * 2654435761) % 1009 = 0 THEN NULL
            ELSE round(CASE i % 5 WHEN 0 THEN 4.0 WHEN 1 THEN 17.5 WHEN 2 THEN 0.4 WHEN 3 THEN 9.8 ELSE 0.3 END
                 + (((i / 60) % 48) - 24) * ((i / 60) % 48 - 24) / 480.0
                 + ((i * 2654435761) % 1000) / 2500.0, 3) END,
       CASE WHEN (i * 40503) % 97 = 0 THEN 2 WHEN (i * 40503) % 31 = 0 THEN 1 ELSE 0 END
FROM n;
CREATE INDEX readings_instrument_at ON readings (instrument_id, at);

CREATE TABLE visits (
    station_id INTEGER NOT NULL REFERENCES stations (id),
    day DATE NOT NULL,
    crew TEXT NOT NULL,
    notes TEXT,
    PRIMARY KEY (station_id, day)
) WITHOUT ROWID;
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 143)
INSERT INTO visits
SELECT i % 12 + 1, date('2025-01-13', '+' || ((i / 12) * 29 + i % 12) || ' days'),
       CASE i % 4 WHEN 0 THEN 'Ada, Jonas' WHEN 1 THEN 'Mira' WHEN 2 THEN 'Tarek, Ada' ELSE 'Jonas, Mira' END,
       CASE i % 3 WHEN 0 THEN 'Cleaned all heads; growth on the ' || CASE i % 2 WHEN 0 THEN 'cable' ELSE 'frame' END
                  || ', removed by hand. Replaced the zinc anode. Battery at ' || (70 + i % 29) || ' %.'
            WHEN 1 THEN 'Read out the logger and set its clock.' ELSE NULL END
FROM n;

COMMIT;
