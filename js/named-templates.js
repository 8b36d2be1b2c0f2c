/**
 * Chat templates by name, for files that come without one or with one that does not fit: the formats of well-known families, system prompt and turns only.
 */

/** Each message alike. @param {string} open @param {string} close  around a role @param {string} rest  what follows it, an expression, as start is what the text begins with */
const alike = (open, close, rest, start = "''") => `{{- ${start} }}
{%- for m in messages %}{{ '${open}' ~ m.role ~ '${close}' ~ ${rest} }}{% endfor %}
{%- if add_generation_prompt %}{{ '${open}assistant${close}' }}{% endif %}`

/** User and assistant by turns, the system prompt (`system`) within the first. @param {string} user @param {string} assistant @param {string} start  expressions */
const byTurns = (user, assistant, start) => `{{- ${start} }}
{%- set ns = namespace(system='') %}
{%- for m in messages if m.role == 'system' %}{% set ns.system = ns.system ~ m.content ~ '\\n\\n' %}{% endfor %}
{%- for m in messages if m.role != 'system' %}
{%- if m.role != ('user' if loop.index is odd else 'assistant') %}{{ raise_exception('user and assistant must take turns, the user first') }}{% endif %}
{%- set system = ns.system if loop.first else '' %}
{{- ${user} if m.role == 'user' else ${assistant} }}
{%- endfor %}`

/** @type {Record<string, string>} */
export const NAMED_TEMPLATES = Object.freeze({
  chatml: alike('<|im_start|>', '\\n', "m.content ~ '<|im_end|>\\n'"),
  llama3: alike('<|start_header_id|>', '<|end_header_id|>\\n\\n', "m.content | trim ~ '<|eot_id|>'", 'bos_token'),
  llama2: byTurns(
    "bos_token ~ '[INST] ' ~ ('<<SYS>>\\n' ~ system | trim ~ '\\n<</SYS>>\\n\\n' if system else '') ~ m.content | trim ~ ' [/INST]'", "' ' ~ m.content | trim ~ ' ' ~ eos_token", "''"),
  mistral: byTurns("'[INST] ' ~ system ~ m.content ~ ' [/INST]'", "' ' ~ m.content | trim ~ eos_token", 'bos_token'),
  gemma: `${byTurns("'<start_of_turn>user\\n' ~ system ~ m.content | trim ~ '<end_of_turn>\\n'", "'<start_of_turn>model\\n' ~ m.content | trim ~ '<end_of_turn>\\n'", 'bos_token')}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}`,
  phi3: alike('<|', '|>\\n', "m.content ~ '<|end|>\\n'"),
  zephyr: alike('<|', '|>\\n', "m.content ~ eos_token ~ '\\n'"),
})
