/**
 * Chat templates by name, for files that come without one or with one that does not fit: the formats of well-known families, system prompt and turns only.
 */

const ALTERNATE = `{%- for message in messages if message.role != 'system' %}
{%- if message.role != ('user' if loop.index is odd else 'assistant') %}{{ raise_exception('user and assistant must take turns, the user first') }}{% endif %}
{%- endfor %}`
const SYSTEM = `{%- set ns = namespace(system='') %}{% for message in messages if message.role == 'system' %}{% set ns.system = ns.system ~ message.content ~ '\\n\\n' %}{% endfor %}`

/** @type {Record<string, string>} */
export const NAMED_TEMPLATES = Object.freeze({
  chatml: `{%- for message in messages %}{{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`,

  llama3: `{{- bos_token }}
{%- for message in messages %}{{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' ~ message.content | trim ~ '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}`,

  llama2: `${ALTERNATE}${SYSTEM}
{%- for message in messages if message.role != 'system' %}
{%- if message.role == 'user' %}
{{- bos_token ~ '[INST] ' ~ ('<<SYS>>\\n' ~ ns.system | trim ~ '\\n<</SYS>>\\n\\n' if loop.first and ns.system else '') ~ message.content | trim ~ ' [/INST]' }}
{%- else %}{{ ' ' ~ message.content | trim ~ ' ' ~ eos_token }}{% endif %}
{%- endfor %}`,

  mistral: `${ALTERNATE}${SYSTEM}{{- bos_token }}
{%- for message in messages if message.role != 'system' %}
{%- if message.role == 'user' %}{{ '[INST] ' ~ (ns.system if loop.first else '') ~ message.content ~ ' [/INST]' }}
{%- else %}{{ ' ' ~ message.content | trim ~ eos_token }}{% endif %}
{%- endfor %}`,

  gemma: `${ALTERNATE}${SYSTEM}{{- bos_token }}
{%- for message in messages if message.role != 'system' %}
{{- '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\\n' ~ (ns.system if loop.first else '') ~ message.content | trim ~ '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}`,

  phi3: `{%- for message in messages %}{{ '<|' ~ message.role ~ '|>\\n' ~ message.content ~ '<|end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}`,

  zephyr: `{%- for message in messages %}{{ '<|' ~ message.role ~ '|>\\n' ~ message.content ~ eos_token ~ '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}`,
})
