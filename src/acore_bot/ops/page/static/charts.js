// The charts: what each of them shows, how minutes are summed up for it, and how it is drawn.

import * as format from './format.js';

export const STAGES = [
  ['admitted', 'Admitted'], ['context', 'Context'], ['queued', 'Queued'], ['first_delta', 'First words'],
  ['stream', 'Stream'], ['edits', 'Edits'], ['commit', 'Commit'],
];
const MINUTE = 60;
const BAR_SECONDS = { 1: MINUTE, 6: 5 * MINUTE, 24: 15 * MINUTE };
const HEIGHT = 190;
const NOTHING = 'No turns in this time. Say something to the bot.';

const CHARTS = [
  {
    title: 'Response time', kind: 'line', unit: format.seconds, nothing: NOTHING, band: [2, 1],
    series: [
      { label: 'p50', colour: '--accent', width: 2, value: (frame) => frame.p50 },
      { label: 'p95', colour: '--accent', width: 1, value: (frame) => frame.p95 },
      { label: 'First words, p50', colour: '--muted', width: 1.5, dash: [4, 4], value: (frame) => frame.first },
    ],
  },
  {
    title: 'Time by stage', kind: 'bars', unit: format.seconds, nothing: NOTHING,
    series: STAGES.map(([name, label], index) => (
      { label, colour: `--stage-${name}`, value: (frame) => frame.stages?.[index] ?? null }
    )),
  },
  {
    title: 'Tokens per minute', kind: 'bars', unit: format.compact, nothing: 'No tokens in this time.',
    series: [{ label: 'Read and written', colour: '--accent', value: (frame) => frame.tokens / frame.minutes }],
  },
  {
    title: 'Writing speed', kind: 'line', unit: format.number, nothing: 'Nothing was written in this time.',
    series: [{ label: 'Tokens per second', colour: '--accent', width: 2, value: (frame) => frame.speed }],
  },
  {
    title: 'Cost', kind: 'bars', unit: format.cost, sum: true, nothing: 'Nothing that costs money in this time.',
    series: [{ label: 'US dollars', colour: '--accent', value: (frame) => frame.cost }],
  },
  {
    title: 'Saved calls', kind: 'bars', unit: format.count, sum: true, whole: true,
    nothing: 'No question was asked twice in this time.',
    series: [
      { label: 'Shared', colour: '--saved-shared', value: (frame) => frame.shared },
      { label: 'Cached', colour: '--saved-cached', value: (frame) => frame.cached },
    ],
  },
  {
    title: 'Errors', kind: 'bars', unit: format.count, sum: true, whole: true, nothing: 'No errors in this time.',
    series: [{ label: 'Failed turns', colour: '--bad', value: (frame) => frame.failed }],
  },
];

// All charts in a place. `show(minutes, now, hours)` draws them; minutes is a map by their beginning.
export class Charts {
  constructor(place) {
    this.views = CHARTS.map((spec) => new Chart(spec, place));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      for (const view of this.views) view.recolour();
    });
  }

  show(minutes, now, hours) {
    const lines = framesOf(minutes, now, hours, MINUTE);
    const bars = framesOf(minutes, now, hours, BAR_SECONDS[hours]);
    for (const view of this.views) view.show(view.spec.kind === 'line' ? lines : bars, hours);
  }
}

// Sums minutes up to frames of a width in seconds. Only frames of one minute have quantiles, since
// those of several cannot be told from theirs.
function framesOf(minutes, now, hours, width) {
  const end = (Math.floor(now / width) + 1) * width;
  const frames = [];
  for (let at = end - hours * 3600; at < end; at += width) {
    const members = [];
    for (let minute = at; minute < at + width; minute += MINUTE) {
      if (minutes.has(minute)) members.push(minutes.get(minute));
    }
    frames.push(frameOf(at, width, members));
  }
  return frames;
}

function frameOf(at, width, members) {
  const only = width === MINUTE ? members[0] : undefined;
  const sum = (name) => members.reduce((total, minute) => total + minute[name], 0);
  return {
    at, width, minutes: width / MINUTE,
    p50: only?.p50 ?? null, p95: only?.p95 ?? null, first: only?.first ?? null, speed: only?.speed ?? null,
    tokens: sum('tokens'), cost: sum('cost'), shared: sum('shared'), cached: sum('cached'), failed: sum('failed'),
    stages: meanStages(members.filter((minute) => minute.stages.length)),
  };
}

function meanStages(members) {
  if (!members.length) return null;
  const weight = members.reduce((total, minute) => total + Math.max(1, minute.turns), 0);
  return STAGES.map((_, index) => (
    members.reduce((total, minute) => total + (minute.stages[index] ?? 0) * Math.max(1, minute.turns), 0) / weight
  ));
}

class Chart {
  constructor(spec, place) {
    this.spec = spec;
    this.frames = [];
    this.hours = 1;
    const card = make('article', 'card chart', place);
    const head = make('div', 'head', card);
    make('h3', '', head).textContent = spec.title;
    this.at = make('span', 'at', head);
    const legend = make('ul', 'legend', card);
    this.values = spec.series.map((series) => legendItem(series, spec.kind, legend));
    this.plot = make('div', 'plot', card);
    this.plot.setAttribute('role', 'img');
    this.nothing = make('p', 'nothing', this.plot);
    this.drawing = null;
    new ResizeObserver(() => this.drawing?.setSize({ width: this.plot.clientWidth, height: HEIGHT })).observe(this.plot);
  }

  show(frames, hours) {
    this.frames = frames;
    this.hours = hours;
    const columns = this.spec.series.map((series) => frames.map(series.value));
    const isEmpty = columns.every((column) => column.every((value) => !value));
    this.nothing.textContent = isEmpty ? this.spec.nothing : '';
    this.data = [frames.map((frame) => frame.at), ...(this.spec.kind === 'bars' ? stacked(columns) : columns)];
    if (this.drawing) this.drawing.setData(this.data);
    else this.drawing = new window.uPlot(this.options(), this.data, this.plot);
    this.read(this.pointed());
    this.describe();
  }

  recolour() {
    this.drawing?.destroy();
    this.drawing = null;
    if (this.frames.length) this.show(this.frames, this.hours);
  }

  // Put into the legend what is under the pointer, or else the sum or the newest.
  read(index) {
    const { kind, sum, unit, series } = this.spec;
    const frame = this.frames[index ?? this.newest()];
    const isSum = index == null && sum;
    const until = frame && kind === 'bars' && frame.width > MINUTE ? `–${format.time(frame.at + frame.width)}` : '';
    this.at.textContent = isSum ? `in ${format.lastHours(this.hours)}` : frame ? `at ${format.time(frame.at)}${until}` : '';
    series.forEach(({ value }, number) => {
      const figure = isSum ? this.frames.reduce((total, each) => total + value(each), 0) : frame && value(frame);
      this.values[number].textContent = unit(figure);
    });
  }

  // The frame under the pointer. A bar begins at its time, so the nearest may be its neighbour.
  pointed() {
    const { cursor } = this.drawing;
    if (cursor.idx == null || this.spec.kind === 'line') return cursor.idx;
    const at = this.drawing.posToVal(cursor.left, 'x');
    return this.frames.findLastIndex((frame) => frame.at <= at);
  }

  newest() {
    return this.frames.findLastIndex((frame) => this.spec.series.some(({ value }) => value(frame)));
  }

  describe() {
    const { title, series } = this.spec;
    const shown = series.map(({ label }, number) => `${label}: ${this.values[number].textContent}`);
    const text = this.nothing.textContent || `${shown.join(', ')}, ${this.at.textContent}.`;
    this.plot.setAttribute('aria-label', `${title}, chart of ${format.lastHours(this.hours)}. ${text}`);
  }

  // An empty chart has no scale: its numbers would mean nothing.
  scaleOf(split) {
    if (split === 0) return '0';
    return this.nothing.textContent ? '' : this.spec.unit(split);
  }

  options() {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const font = '12px system-ui, "Liberation Sans", sans-serif';
    const axis = { stroke: colour('--muted'), font };
    const { kind, whole, band, series } = this.spec;
    const drawn = series.map((one) => (kind === 'bars' ? barOf(one, colour) : lineOf(one, colour)));
    return {
      width: this.plot.clientWidth, height: HEIGHT,
      padding: [10, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: 'acore', scales: ['x', null] }, points: { show: kind === 'line' } },
      scales: {
        x: { range: () => [this.frames[0].at, this.frames.at(-1).at + this.frames.at(-1).width] },
        y: { range: (_, __, highest) => [0, highest > 0 ? highest * 1.05 : 1] },
      },
      axes: [
        { ...axis, grid: { show: false }, ticks: { stroke: colour('--line'), size: 4 }, gap: 4, size: 30, space: 64, values: (_, splits) => splits.map(format.time) },
        {
          ...axis, grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, size: 58, space: 34,
          values: (_, splits) => splits.map((split) => this.scaleOf(split)), ...(whole && { incrs: WHOLE_STEPS }),
        },
      ],
      series: [{}, ...(kind === 'bars' ? drawn.reverse() : drawn)],
      bands: band ? [{ series: band, fill: colour('--accent-soft') }] : [],
      hooks: { setCursor: [() => this.drawing && this.read(this.pointed())] },
    };
  }
}

const WHOLE_STEPS = [1, 2, 5].flatMap((step) => [0, 1, 2, 3, 4, 5, 6].map((power) => step * 10 ** power)).sort((a, b) => a - b);

// From the whole stack down to its lowest part, since later bars are drawn over earlier ones.
function stacked(columns) {
  const heights = columns[0].map(() => 0);
  return columns.map((column) => column.map((value, index) => (value == null ? null : (heights[index] += value)))).reverse();
}

function barOf({ label, colour }, colourOf) {
  const paths = window.uPlot.paths.bars({ align: 1, size: [0.8, 24] });
  return { label, fill: colourOf(colour), width: 0, paths, points: { show: false } };
}

function lineOf({ label, colour, width, dash }, colourOf) {
  const stroke = colourOf(colour);
  return { label, stroke, width, dash, points: { show: true, size: 5, fill: stroke, stroke, width: 0, filter: alone } };
}

// A minute between empty ones has no line to be seen by, so it gets a point.
function alone(drawing, number) {
  const column = drawing.data[number];
  return column.flatMap((value, index) => (
    value != null && column[index - 1] == null && column[index + 1] == null ? [index] : []
  ));
}

function legendItem({ label, colour, width, dash }, kind, list) {
  const item = make('li', '', list);
  const shape = kind === 'line' ? `line ${dash ? 'dashed' : width < 2 ? 'thin' : ''}` : '';
  make('i', shape, item).style.setProperty('--colour', `var(${colour})`);
  item.append(label);
  return make('b', '', item);
}

function make(tag, classes, parent) {
  const element = document.createElement(tag);
  element.className = classes;
  parent.append(element);
  return element;
}
