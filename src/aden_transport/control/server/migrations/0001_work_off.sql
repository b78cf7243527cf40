-- Reserves and ends of many calls, one after the other, as `page.py` does them on SQLite. `round_trip.py`
-- says what is asked for and answered.
--
-- A scan of a whole table may look cheap where its statistics are old, and never is; planning anew for each
-- call takes longer than the call. What grows with each operation is an array, as all of a jsonb is written
-- anew to add to it.
CREATE FUNCTION work_off(asked jsonb, moment double precision) RETURNS text
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $function$
DECLARE
    most CONSTANT bigint := 9007199254740991;
    wanted jsonb;        -- [team, key, expires_at] of the rows of sums that may change.
    numbers jsonb;       -- Of these, and after them of those that are only looked at, by team and key.
    teams text[];
    keys text[];
    spents bigint[];
    helds bigint[];
    expecteds bigint[];
    locked int;          -- How many may change.
    before bigint[];
    opened int[];
    disputes bigint[];
    units text[];
    expiries float8[];
    operation jsonb;
    team text;
    candidates jsonb;
    last_one int;
    lines jsonb;
    line jsonb;
    also jsonb;
    number int;
    -- Limits may be as large as a bigint can be, and sums beside them larger.
    spent numeric;
    held numeric;
    expected numeric;
    likely numeric;
    hold numeric;
    bound numeric;
    passed_over boolean;
    misfit int;
    wait int;
    may_help boolean;
    kind text;
    totals text;
    result text;
    parts jsonb;         -- [key, hold, expected, unit, expires_at] of the hold that is made or ended.
    part jsonb;
    sign int;            -- 1: it is made; -1: it is ended; 0: neither.
    answer text;
    answers text[];
    charged text;
BEGIN
    -- Whoever makes or ends a hold has locked its keys: what is read of it then is true until the end.
    wanted := asked -> 'keys';
    IF asked ? 'op_ids' OR asked ? 'refs' THEN
        SELECT jsonb_agg(jsonb_build_array(team_id, key, expires_at)) INTO wanted FROM (
            SELECT DISTINCT ON (team_id, key) team_id, key, expires_at FROM (
                SELECT told ->> 0, told ->> 1, told -> 2 FROM jsonb_array_elements(asked -> 'keys') AS told
                UNION ALL
                SELECT holds.team_id, each ->> 0, each -> 4
                FROM jsonb_array_elements(asked -> 'op_ids') AS told
                JOIN holds ON holds.team_id = told ->> 0 AND holds.op_id = told ->> 1,
                jsonb_array_elements(holds.lines::jsonb) AS each
                UNION ALL
                SELECT holds.team_id, each ->> 0, each -> 4
                FROM jsonb_array_elements(asked -> 'refs') AS told
                JOIN holds ON holds.team_id = told ->> 0 AND holds.ref = told ->> 1,
                jsonb_array_elements(holds.lines::jsonb) AS each
            ) AS touched (team_id, key, expires_at)
        ) AS told;
    END IF;
    locked := coalesce(jsonb_array_length(wanted), 0);
    LOOP
        SELECT jsonb_object_agg(found.team_id || ' ' || found.key, found.n),
            array_agg(found.team_id ORDER BY found.n), array_agg(found.key ORDER BY found.n),
            array_agg(found.spent ORDER BY found.n), array_agg(found.held ORDER BY found.n),
            array_agg(found.expected ORDER BY found.n)
        INTO numbers, teams, keys, spents, helds, expecteds
        FROM (
            SELECT row_number() OVER () AS n, * FROM (
                SELECT sums.*
                FROM jsonb_array_elements(wanted) AS told
                JOIN sums ON sums.team_id = told ->> 0 AND sums.key = told ->> 1
                ORDER BY sums.team_id, sums.key FOR UPDATE OF sums
            ) AS in_order
        ) AS found;
        EXIT WHEN coalesce(cardinality(keys), 0) = locked;
        -- What is not there cannot be locked.
        INSERT INTO sums (team_id, key, expires_at)
        SELECT told ->> 0, told ->> 1, (told -> 2)::float8 FROM jsonb_array_elements(wanted) AS told
        ORDER BY told ->> 0, told ->> 1
        ON CONFLICT DO NOTHING;
    END LOOP;
    before := spents;
    opened := array_fill(0, ARRAY[locked]);
    disputes := array_fill(0::bigint, ARRAY[locked]);
    units := array_fill(NULL::text, ARRAY[locked]);
    expiries := array_fill(NULL::float8, ARRAY[locked]);
    IF asked ? 'others' THEN
        SELECT
            numbers || coalesce(jsonb_object_agg(found.team_id || ' ' || found.key, locked + found.n), '{}'),
            spents || array_agg(found.spent ORDER BY found.n),
            helds || array_agg(found.held ORDER BY found.n),
            expecteds || array_agg(found.expected ORDER BY found.n)
        INTO numbers, spents, helds, expecteds
        FROM (
            SELECT row_number() OVER () AS n, sums.*
            FROM jsonb_array_elements(asked -> 'others') AS told
            JOIN sums ON sums.team_id = told ->> 0 AND sums.key = told ->> 1
            -- Those of holds that end are locked.
            WHERE NOT numbers ? (sums.team_id || ' ' || sums.key)
        ) AS found;
    END IF;

    FOR operation IN SELECT jsonb_array_elements(asked -> 'operations') LOOP
        team := operation ->> 'team';
        candidates := operation -> 'candidates';
        sign := 0;
        IF candidates IS NOT NULL THEN
            -- As `ledger/rule.py` judges.
            last_one := jsonb_array_length(candidates) - 1;
            FOR candidate IN 0..last_one LOOP
                lines := candidates -> candidate;
                passed_over := false;
                misfit := -1;
                wait := -1;
                may_help := true;
                totals := '';
                FOR l IN 0..jsonb_array_length(lines) - 1 LOOP
                    line := lines -> l;
                    number := (numbers -> (team || ' ' || (line ->> 'key')))::int;
                    spent := spents[number];
                    held := helds[number];
                    expected := expecteds[number];
                    also := line -> 'also';
                    IF also IS NOT NULL THEN
                        FOR a IN 0..jsonb_array_length(also) - 1 LOOP
                            number := (numbers -> (team || ' ' || (also ->> a)))::int;
                            IF number IS NOT NULL THEN
                                spent := spent + spents[number];
                                held := held + helds[number];
                                expected := expected + expecteds[number];
                            END IF;
                        END LOOP;
                    END IF;
                    -- A bound that is not there is NULL, and so is what is compared with it.
                    hold := (line -> 'hold')::numeric;
                    likely := spent + expected + (line -> 'expected')::numeric;
                    IF (line -> 'degrade_at')::numeric <= likely THEN
                        passed_over := true;
                    END IF;
                    bound := (line -> 'limit_held')::numeric;
                    IF bound < spent + held + hold AND misfit = -1 THEN
                        misfit := l;
                    END IF;
                    IF bound < greatest(likely, spent + hold) THEN
                        may_help := false;
                    END IF;
                    IF (line -> 'limit_expected')::numeric < likely THEN
                        misfit := CASE misfit WHEN -1 THEN l ELSE misfit END;
                        may_help := false;
                    END IF;
                    IF (line -> 'throttle_at')::numeric <= likely AND wait = -1 THEN
                        wait := l;
                    END IF;
                    totals := totals || ', [' || spent || ', ' || held || ', ' || expected || ']';
                END LOOP;
                CONTINUE WHEN candidate < last_one AND (passed_over OR misfit <> -1);
                kind := CASE
                    WHEN misfit <> -1 THEN 'refused' WHEN wait <> -1 THEN 'throttled' ELSE 'held'
                END;
                result := candidate || ', [' || substr(totals, 3) || ']';
                answer := '["' || kind || '", ' || result
                    || ', ' || CASE misfit WHEN -1 THEN wait ELSE misfit END
                    || ', ' || (misfit <> -1 AND may_help) || ']';
                EXIT;
            END LOOP;
            IF kind = 'held' THEN
                parts := '[]';
                FOR l IN 0..jsonb_array_length(lines) - 1 LOOP
                    line := lines -> l;
                    parts := parts || jsonb_build_array(jsonb_build_array(
                        line -> 'key',
                        least((line -> 'hold')::bigint, most),
                        least((line -> 'expected')::bigint, most),
                        coalesce(line -> 'unit', '"usd"'),
                        coalesce(line -> 'expires_at', '0')
                    ));
                END LOOP;
                INSERT INTO holds (team_id, op_id, lines, outcome, expires_at, intent) VALUES (
                    team,
                    operation ->> 'op_id',
                    parts,
                    '[' || result || ']',
                    (operation -> 'expires_at')::float8,
                    operation ->> 'intent'
                ) ON CONFLICT (team_id, op_id) DO NOTHING;
                sign := CASE WHEN FOUND THEN 1 ELSE 0 END;
            END IF;
            IF sign = 0 THEN
                -- While it is held, the outcome is what it was.
                SELECT jsonb_build_array('held', outcome::jsonb -> 0, outcome::jsonb -> 1, -1, false)
                INTO result FROM holds WHERE team_id = team AND op_id = operation ->> 'op_id';
                answer := coalesce(result, answer);
            END IF;
        ELSE
            IF operation ? 'ref' THEN
                DELETE FROM holds
                WHERE team_id = team AND ref = operation ->> 'ref'
                    AND expires_at <= coalesce((operation -> 'expired_by')::float8, 'Infinity')
                RETURNING holds.lines::jsonb INTO parts;
            ELSE
                DELETE FROM holds
                WHERE team_id = team AND op_id = operation ->> 'op_id'
                    AND expires_at <= coalesce((operation -> 'expired_by')::float8, 'Infinity')
                RETURNING holds.lines::jsonb INTO parts;
            END IF;
            answer := FOUND;
            sign := CASE WHEN FOUND THEN -1 ELSE 0 END;
        END IF;
        answers := answers || answer;
        CONTINUE WHEN sign = 0;
        FOR p IN 0..jsonb_array_length(parts) - 1 LOOP
            part := parts -> p;
            number := (numbers -> (team || ' ' || (part ->> 0)))::int;
            IF number IS NULL OR number > locked THEN
                RAISE EXCEPTION 'a hold was made after its keys were looked for'
                    USING ERRCODE = 'serialization_failure';
            END IF;
            hold := (part -> 1)::numeric;
            IF sign = -1 AND operation ? 'amounts' THEN
                spents[number] := spents[number]
                    + least(coalesce((operation -> 'amounts' -> (part ->> 3))::numeric, hold), most);
            END IF;
            IF operation ? 'expired_by' AND part ->> 3 = 'usd' THEN
                disputes[number] := disputes[number] + hold;
            END IF;
            helds[number] := helds[number] + sign * hold;
            expecteds[number] := expecteds[number] + sign * (part -> 2)::bigint;
            opened[number] := opened[number] + sign;
            units[number] := part ->> 3;
            expiries[number] := (part -> 4)::float8;
        END LOOP;
    END LOOP;

    UPDATE sums SET
        unit = changed.unit,
        -- No sum leaves the integers that JSON's readers and Lua count exactly.
        spent = least(changed.spent, most),
        held = changed.held,
        expected = changed.expected,
        holds = sums.holds + changed.opened,
        disputed = sums.disputed + changed.disputed,
        expires_at = changed.expires_at,
        moved_at = moment
    FROM unnest(teams, keys, units, spents, helds, expecteds, opened, disputes, expiries)
        AS changed (team_id, key, unit, spent, held, expected, opened, disputed, expires_at)
    WHERE sums.team_id = changed.team_id AND sums.key = changed.key AND changed.unit IS NOT NULL;
    IF spents <> before THEN
        SELECT jsonb_agg(jsonb_build_array(told.team_id, told.key, told.spent)) INTO charged
        FROM unnest(teams, keys, spents, before) AS told (team_id, key, spent, before)
        WHERE told.spent > told.before;
    END IF;
    RETURN '[[' || array_to_string(answers, ', ') || '], ' || coalesce(charged, '[]') || ']';
END
$function$;
