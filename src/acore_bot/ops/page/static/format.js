// Numbers, times and words as people read them. Null and undefined are "–": nothing was measured.

const NONE = '–';
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { notation: 'compact', maximumSignificantDigits: 3 });
const exact = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const percents = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 });
const dollars = { style: 'currency', currency: 'USD', currencyDisplay: 'narrowSymbol' };
const money = new Intl.NumberFormat(undefined, dollars);
const change = new Intl.NumberFormat(undefined, { ...dollars, minimumFractionDigits: 2, maximumFractionDigits: 4 });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });

const unlessNone = (format) => (value) => (value == null ? NONE : format(value));

export const count = unlessNone((value) => whole.format(value));
export const compact = unlessNone((value) => (Math.abs(value) < 10000 ? count(value) : short.format(value)));
export const number = unlessNone((value) => (value && Math.abs(value) < 100 ? exact.format(value) : whole.format(value)));
export const share = unlessNone((value) => percents.format(value));
export const cost = unlessNone((value) => (value && Math.abs(value) < 1 ? change : money).format(value));
export const time = unlessNone((unixSeconds) => clock.format(unixSeconds * 1000));
export const date = unlessNone((unixSeconds) => day.format(unixSeconds * 1000));

export const seconds = unlessNone((value) => {
  if (value < 0.001) return '0 ms';
  if (value < 0.9995) return `${whole.format(value * 1000)} ms`;
  if (value < 10) return `${hundredths.format(value)} s`;
  if (value < 60) return `${tenths.format(value)} s`;
  return duration(value);
});

export const duration = unlessNone((value) => {
  const all = Math.round(value);
  const parts = [[Math.floor(all / 86400), 'd'], [Math.floor(all / 3600) % 24, 'h'], [Math.floor(all / 60) % 60, 'min'], [all % 60, 's']];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return '0 s';
  return parts.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount} ${unit}`).join(' ');
});

// "one word" as in `rate_limited` becomes "rate limited".
export const words = (name) => name.replaceAll('_', ' ');

export const lastHours = (hours) => (hours === 1 ? 'the last hour' : `the last ${hours} hours`);

export const plural = (amount, one, many) => `${count(amount)} ${amount === 1 ? one : many}`;
