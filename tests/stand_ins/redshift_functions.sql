-- What Redshift has and PostgreSQL lacks. The front of tests/stand_ins/redshift.py writes date parts as texts.

create function pg_catalog.strtol(digits varchar, base integer) returns bigint
language plpgsql immutable strict as $$
declare
    total numeric := 0;
    digit integer;
begin
    for place in 1..length(digits) loop
        digit := position(substring(lower(digits) from place for 1) in '0123456789abcdefghijklmnopqrstuvwxyz') - 1;
        if digit < 0 or digit >= base then
            raise exception 'The input % is not valid to be converted to base %', digits, base;
        end if;
        total := total * base + digit;
    end loop;
    return total::bigint;
end
$$;

create function pg_catalog.getdate() returns timestamp
language sql stable as $$ select date_trunc('second', localtimestamp) $$;

create function pg_catalog.sysdate() returns timestamp
language sql stable as $$ select localtimestamp(6)::timestamp $$;

create function pg_catalog.nvl(anyelement, anyelement) returns anyelement
language sql immutable as $$ select coalesce($1, $2) $$;

create function pg_catalog.nvl2(anyelement, anycompatible, anycompatible) returns anycompatible
language sql immutable as $$ select case when $1 is not null then $2 else $3 end $$;

-- Redshift adds to the end of a month as PostgreSQL does: 31 January and a month is 29 February.
create function pg_catalog.dateadd(part varchar, amount bigint, moment timestamp) returns timestamp
language sql immutable strict as $$
    select moment + case
        when part in ('quarter', 'qtr') then make_interval(months => 3 * amount::integer)
        when part in ('millisecond', 'ms') then make_interval(secs => amount / 1e3)
        when part in ('microsecond', 'us') then make_interval(secs => amount / 1e6)
        else (amount || ' ' || part)::interval
    end
$$;

-- Redshift counts the boundaries that lie between, not whole units.
create function pg_catalog.datediff(part varchar, first timestamp, last timestamp) returns bigint
language plpgsql immutable strict as $$
declare
    years bigint := extract(year from last) - extract(year from first);
begin
    if part !~ '^(year|month|day|hour|minute|second)s?$' then
        raise exception 'the stand-in does not know datediff(%, ...)', part;
    end if;
    return case
        when part in ('year', 'years') then years
        when part in ('month', 'months') then years * 12 + extract(month from last) - extract(month from first)
        when part in ('day', 'days') then last::date - first::date
        when part in ('hour', 'hours') then
            extract(epoch from date_trunc('hour', last) - date_trunc('hour', first)) / 3600
        when part in ('minute', 'minutes') then
            extract(epoch from date_trunc('minute', last) - date_trunc('minute', first)) / 60
        when part in ('second', 'seconds') then
            extract(epoch from date_trunc('second', last) - date_trunc('second', first))
    end;
end
$$;

create function pg_catalog.convert_timezone(target varchar, moment timestamp) returns timestamp
language sql stable strict as $$ select (moment at time zone 'UTC') at time zone target $$;

create function pg_catalog.convert_timezone(source varchar, target varchar, moment timestamp) returns timestamp
language sql stable strict as $$ select (moment at time zone source) at time zone target $$;

-- What the session's last COPY and UNLOAD moved; the front writes it down.
create function pg_catalog.pg_last_copy_count() returns bigint
language sql stable as $$ select coalesce(nullif(current_setting('redshift.last_copy_count', true), ''), '0')::bigint $$;

create function pg_catalog.pg_last_unload_count() returns bigint
language sql stable as $$ select coalesce(nullif(current_setting('redshift.last_unload_count', true), ''), '0')::bigint $$;

-- Redshift's list of sessions, whether at work or not.
create view public.stv_sessions as
select
    backend_start as starttime,
    pid as process,
    usename as user_name,
    datname as db_name
from pg_catalog.pg_stat_activity
where backend_type = 'client backend';

-- Columns of external tables: nothing makes such a table here, so a test adds what it needs.
create table public.svv_external_columns (
    schemaname text not null,
    tablename text not null,
    columnname text not null,
    external_type text not null,
    columnnum integer not null
);

-- Redshift's list of columns, those of external tables and of views bound late too.
create view public.svv_columns as
select
    table_catalog::text as table_catalog,
    table_schema::text as table_schema,
    table_name::text as table_name,
    column_name::text as column_name,
    ordinal_position::integer as ordinal_position,
    data_type::text as data_type
from information_schema.columns
union all
select current_database()::text, schemaname, tablename, columnname, columnnum, external_type
from public.svv_external_columns;

create schema central_insights;

-- Stand-in for the broadcaster's function that names the product of an activity row.
create function central_insights.udf_destination_prod(destination varchar, app_name varchar, page_name varchar)
returns varchar
language sql immutable as $$
    select case
        when destination = 'PS_IPLAYER' then 'iplayer'
        when destination = 'PS_SOUNDS' and page_name like 'radio.%' then 'radio'
        when destination = 'PS_SOUNDS' then 'sounds'
    end
$$;
