-- Makes: a run's reasons before they are checked. Columns as in the files: COPY matches them by position.
-- Grain: none: anything is let in, so that a check can name it.
-- From: a run's reason files; those of earlier versions have no sentences.
create table {{ staging }} (
    user_id varchar(250),
    "rank" smallint,
    feature varchar(80),
    "value" varchar(65535),
    contribution real{{ "," if has_sentence }}
{% if has_sentence %}
    sentence varchar(65535)
{% endif %}
)
{% if redshift %}
diststyle key distkey (user_id)
{% endif %}
