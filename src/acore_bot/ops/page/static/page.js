// The operator's page: listens to the bot, and shows what it hears.

import { Charts, STAGES } from './charts.js';
import * as format from './format.js';

const DAY_SECONDS = 24 * 3600;
const SILENCE_MILLISECONDS = 12000;
const TRY_AGAIN_MILLISECONDS = 5000;
const BAD_LAG_SECONDS = 0.1;
const BAD_ERROR_RATE = 0.05;
const NO_TURNS = 'No turns yet. Say something to the bot.';
const BREAKERS = { closed: ['good', 'answers'], open: ['bad', 'left alone'], half_open: ['warn', 'being tried'] };

const state = { version: '', now: null, hour: null, day: null, start: null, slow_turns: [], batch: null };
const minutes = new Map();
const drawn = new Map();
const charts = new Charts(byId('charts'));
let source = null;
let heardAt = 0;

// Listening. A lost connection heals by itself; the timer sees those that the browser does not.

function connect() {
  source?.close();
  heardAt = performance.now();
  source = new EventSource('/events');
  source.addEventListener('picture', (event) => begin(JSON.parse(event.data)));
  source.addEventListener('change', (event) => hear(JSON.parse(event.data)));
  source.addEventListener('error', () => {
    setStatus('lost', 'Connection lost. Trying again…');
    if (source.readyState === EventSource.CLOSED) setTimeout(ask, TRY_AGAIN_MILLISECONDS);
  });
}

// A stream that was refused says not why: perhaps we have to sign in again.
async function ask() {
  const answer = await fetch('/', { method: 'HEAD' }).catch(() => null);
  if (answer?.redirected) location.assign(answer.url);
  else connect();
}

setInterval(() => {
  if (source.readyState !== EventSource.CLOSED && performance.now() - heardAt > SILENCE_MILLISECONDS) {
    setStatus('lost', 'No news from the bot. Trying again…');
    connect();
  }
}, TRY_AGAIN_MILLISECONDS);

function begin(picture) {
  if (state.version && state.version !== picture.version) location.reload();
  minutes.clear();
  hear(picture);
}

function hear({ minutes: rows, ...change }) {
  heardAt = performance.now();
  Object.assign(state, change);
  for (const row of rows ?? []) minutes.set(row[0], minuteOf(row));
  for (const at of minutes.keys()) if (at < state.now.at - DAY_SECONDS - 900) minutes.delete(at);
  show(change);
  setStatus('live', 'Live');
}

function minuteOf([at, turns, failed, p50, p95, first, tokens, speed, cost, shared, cached, stages]) {
  return { at, turns, failed, p50, p95, first, tokens, speed, cost, shared, cached, stages };
}

// Showing.

function show(change) {
  showNow();
  showCharts();
  showTotals();
  showLog();
  if (change.slow_turns) showSlowTurns();
}

function showNow() {
  const { now } = state;
  const waiting = now.providers.reduce((sum, provider) => sum + provider.in_line, 0);
  const [tone, model] = { true: ['', 'Answers'], false: ['bad', 'Out of reach'] }[now.is_model_reachable] ?? ['', 'Not asked yet'];
  tiles('now-tiles', [
    ['Open answers', format.count(now.open_answers)],
    ['Calls in flight', format.count(now.flights)],
    ['In line', format.count(waiting)],
    ['Model', model, '', tone],
    ['Loop lag', format.seconds(now.loop_lag_seconds), '', now.loop_lag_seconds > BAD_LAG_SECONDS ? 'warn' : ''],
    ['In memory', format.compact(now.conversations_in_memory), now.conversations_in_memory === 1 ? 'conversation' : 'conversations'],
    ['Uptime', format.duration(now.uptime_seconds)],
  ]);
  table('providers', now.providers.map(({ name, in_line, running }) => [
    { text: name, kind: 'name' }, digits(in_line), digits(running),
  ]), 'No providers yet. Each appears when it is first asked.');
  table('breakers', now.breakers.map(({ model: name, state: word }) => [
    { text: name, kind: 'name' }, { text: BREAKERS[word][1], state: BREAKERS[word][0] },
  ]), 'No breaker has moved. A model that fails too often is left alone for a while, and stands here.');
  table('shards', now.shards.map(({ shard, is_connected, latency_seconds }) => [
    { text: format.count(shard) },
    is_connected ? { text: 'connected', state: 'good' } : { text: 'away', state: 'bad' },
    { text: format.seconds(latency_seconds), kind: 'number' },
  ]), 'No shards. They stand here when the bot serves Discord.');
}

function showCharts() {
  charts.show(minutes, state.now.at, Number(chosen('hours')));
}

function showTotals() {
  const figures = state[chosen('span')];
  const { response, first_delta: first } = figures;
  const reads = figures.history_hits + figures.history_misses;
  tiles('totals-tiles', [
    ['Turns', format.compact(figures.turns), `${format.count(figures.refused)} refused`],
    ['Errors', format.share(figures.error_rate), `${format.count(figures.failed)} failed`, figures.error_rate >= BAD_ERROR_RATE ? 'bad' : ''],
    ['Response time, p50', format.seconds(response.p50), `p95 ${format.seconds(response.p95)}, p99 ${format.seconds(response.p99)}`],
    ['First words, p50', format.seconds(first.p50), `p95 ${format.seconds(first.p95)}`],
    ['Tokens', format.compact(figures.prompt_tokens + figures.completion_tokens), `${format.compact(figures.completion_tokens)} of them written`],
    ['Cost', format.cost(figures.cost), 'as far as it is known'],
    ['Saved calls', format.compact(figures.saved_calls), `${format.count(figures.shared)} shared, ${format.count(figures.cached)} cached`],
    ['Fallbacks', format.count(figures.fell_back), 'another model answered'],
    ['History from memory', reads ? format.share(figures.history_hits / reads) : format.share(null), `of ${format.plural(reads, 'read', 'reads')}`],
    ['Discord', format.count(figures.reconnects), `reconnects, ${format.plural(figures.rate_limited, 'rate limit', 'rate limits')}`],
  ]);
  table('models', figures.models.map((model) => [
    { text: model.model, kind: 'name' }, digits(model.turns), digits(model.failed),
    digits(model.prompt_tokens), digits(model.cached_tokens), digits(model.completion_tokens),
    { text: format.number(model.tokens_per_second), kind: 'number' }, { text: format.cost(model.cost), kind: 'number' },
  ]), NO_TURNS);
  const errors = Object.entries(figures.errors).sort(([, one], [, other]) => other - one);
  table('errors', errors.map(([kind, amount]) => [{ text: format.words(kind), kind: 'name' }, digits(amount)]), 'No errors. Good.');
}

function showLog() {
  const { batch } = state;
  tiles('log-tiles', [
    ['Not yet written', format.count(batch.pending_events), batch.pending_events === 1 ? 'event' : 'events'],
    ['Writer', batch.batch_task_running ? 'Runs' : 'Stopped', `every ${format.plural(batch.batch_size, 'event', 'events')} or ${format.number(batch.batch_interval)} s`, batch.batch_task_running ? '' : 'bad'],
    ['Written', format.compact(batch.written), 'since the start'],
    ['Failed', format.count(batch.failed), '', batch.failed ? 'bad' : ''],
    ['Dropped', format.count(batch.dropped), '', batch.dropped ? 'bad' : ''],
  ]);
}

function showSlowTurns() {
  const longest = Math.max(...state.slow_turns.map((turn) => turn.total_seconds));
  const rows = state.slow_turns.map((turn) => [
    { text: whenOf(turn.ended_at) }, { text: turn.model, kind: 'name' },
    { text: format.seconds(turn.total_seconds), kind: 'number' },
    { node: stageBar(turn, longest) }, { node: notesOf(turn) },
  ]);
  fill(byId('slow'), rows, NO_TURNS);
}

function whenOf(at) {
  const today = format.date(state.now.at);
  return format.date(at) === today ? format.time(at) : `${format.time(at)}, ${format.date(at)}`;
}

function stageBar(turn, longest) {
  const bar = make('div', { className: 'bar' });
  const parts = STAGES.filter(([name]) => turn.stages[name] > 0.0005);
  for (const [name] of parts) bar.append(piece(turn.stages[name], `var(--stage-${name})`));
  const known = parts.reduce((sum, [name]) => sum + turn.stages[name], 0);
  const rest = piece(Math.max(0, longest - known), 'none');
  bar.append(rest);
  const text = parts.map(([name, label]) => `${label} ${format.seconds(turn.stages[name])}`).join(', ') || 'No stages were measured';
  bar.title = text;
  bar.setAttribute('role', 'img');
  bar.setAttribute('aria-label', text);
  return bar;
}

function piece(seconds, colour) {
  const part = make('span', {});
  part.style.setProperty('--share', Math.max(1, Math.round(seconds * 1000)));
  part.style.setProperty('--colour', colour);
  return part;
}

function notesOf({ kind, place, stacks }) {
  const notes = make('div', {});
  if (kind) notes.append(make('span', { className: 'state bad', textContent: format.words(kind) }), ' ');
  if (place) notes.append(make('code', { textContent: place.slice(0, 8), title: 'The place, as a hash' }));
  if (!stacks.length) return notes;
  const list = make('ol', {});
  list.append(...stacks.map((stack) => make('li', {}, make('code', { textContent: stack }))));
  notes.append(make('details', {}, make('summary', { textContent: 'what held up the loop' }), list));
  return notes;
}

// Tools of the trade. Texts are only ever set as text, so nothing that a model or a person named
// can become a part of the page.

function byId(id) {
  return document.getElementById(id);
}

function chosen(name) {
  return document.querySelector(`input[name="${name}"]:checked`).value;
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function digits(amount) {
  return { text: format.count(amount), kind: 'number' };
}

function setStatus(word, text) {
  const status = byId('status');
  if (status.textContent === text) return;
  status.textContent = text;
  status.dataset.state = document.body.dataset.state = word;
}

function tiles(id, figures) {
  const list = byId(id);
  while (list.children.length < figures.length) {
    list.append(make('div', { className: 'tile' }, make('dt', {}), make('dd', {}), make('dd', { className: 'note' })));
  }
  figures.forEach(([label, value, note = '', tone = ''], number) => {
    const [term, figure, remark] = list.children[number].children;
    setText(term, label);
    setText(figure, value);
    setText(remark, note);
    figure.className = tone;
    remark.hidden = !note;
  });
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Rows are drawn anew only if they differ, so that a text that is being selected stays selected.
function table(id, rows, nothing) {
  const key = JSON.stringify(rows);
  if (drawn.get(id) === key) return;
  drawn.set(id, key);
  fill(byId(id), rows, nothing);
}

function fill(place, rows, nothing) {
  const columns = place.tHead.rows[0].cells.length;
  const empty = make('tr', {}, make('td', { colSpan: columns, className: 'empty', textContent: nothing }));
  place.tBodies[0].replaceChildren(...(rows.length ? rows.map((row) => make('tr', {}, ...row.map(cell))) : [empty]));
}

function cell({ text, kind = '', state: tone, node }) {
  if (tone) return make('td', {}, make('span', { className: `state ${tone}`, textContent: text }));
  return node ? make('td', {}, node) : make('td', { className: kind, textContent: text });
}

for (const [name, label] of STAGES) {
  const mark = make('i', {});
  mark.style.setProperty('--colour', `var(--stage-${name})`);
  byId('stage-legend').append(make('li', {}, mark, label));
}
byId('hours').addEventListener('change', showCharts);
byId('span').addEventListener('change', showTotals);
connect();
