-- Makes: the Redshift functions that the embedded warehouse lacks. DuckDB dialect, run at every connection.

-- strtol('ff', 16), which sqlglot writes as from_base, for base 16 only.
create or replace macro from_base(digits, base) as cast('0x' || digits as bigint);

-- The bytes of a text. DuckDB's own octet_length takes only blobs and bits.
create or replace macro octet_length(letters) as strlen(letters);

create schema if not exists central_insights;

-- Stand-in for the broadcaster's function that names the product of an activity row.
create or replace macro central_insights.udf_destination_prod(destination, app_name, page_name) as
    case
        when destination = 'PS_IPLAYER' then 'iplayer'
        when destination = 'PS_SOUNDS' and page_name like 'radio.%' then 'radio'
        when destination = 'PS_SOUNDS' then 'sounds'
    end;
