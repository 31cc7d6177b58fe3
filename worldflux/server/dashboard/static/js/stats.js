// Intervals and a paired test, exact where that is quick.

/** The Wilson 95 % interval of k successes in n trials. */
export function wilson(k, n, z = 1.959963984540054) {
  const p = k / n;
  const middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

function logGamma(x) {
  const parts = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2, -0.5395239384953e-5];
  const base = x + 5.5 - (x + 0.5) * Math.log(x + 5.5);
  const sum = parts.reduce((total, part, place) => total + part / (x + 1 + place), 1.000000000190015);
  return -base + Math.log((2.5066282746310005 * sum) / x);
}

function betaFraction(a, b, x) {
  let c = 1;
  let d = 1 / Math.max(1e-300, 1 - ((a + b) * x) / (a + 1));
  let result = d;
  for (let m = 1; m < 300; m += 1) {
    for (const part of [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)), (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))]) {
      d = 1 / (1 + part * d || 1e-300);
      c = 1 + part / c || 1e-300;
      result *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-12) break;
  }
  return result;
}

function beta(x, a, b) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(1 - x));
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(a, b, x)) / a : 1 - (front * betaFraction(b, a, 1 - x)) / b;
}

/** Two-sided p of a Student t value. */
export const studentP = (t, freedom) => beta(freedom / (freedom + t * t), freedom / 2, 0.5);

/** The t value that 95 % of a Student distribution lies within. */
export function studentT95(freedom) {
  let [low, high] = [0, 1000];
  for (let turn = 0; turn < 80; turn += 1) {
    const middle = (low + high) / 2;
    if (studentP(middle, freedom) > 0.05) low = middle;
    else high = middle;
  }
  return high;
}

/** Mean with its 95 % interval; bounds are null for one value. */
export function meanInterval(values) {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  if (values.length < 2) return { mean, low: null, high: null, n: values.length };
  const spread = Math.sqrt(values.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (values.length - 1));
  const half = (studentT95(values.length - 1) * spread) / Math.sqrt(values.length);
  return { mean, low: mean - half, high: mean + half, n: values.length };
}

const EXACT = 18;

/**
 * Whether pairs differ: the sign-flip permutation test on their differences, all 2^n of them up to 18 pairs,
 * beyond that a paired t test. Returns `{p, n, mean, low, high, method}`; p is null for fewer than two pairs.
 */
export function paired(differences) {
  const { mean, low, high, n } = meanInterval(differences);
  if (n < 2) return { p: null, n, mean, low, high, method: "" };
  if (n > EXACT) {
    const spread = Math.sqrt(differences.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (n - 1));
    const p = spread === 0 ? (mean === 0 ? 1 : 0) : studentP((mean / spread) * Math.sqrt(n), n - 1);
    return { p, n, mean, low, high, method: "paired t test" };
  }
  const sizes = differences.map(Math.abs);
  const seen = Math.abs(differences.reduce((sum, each) => sum + each, 0));
  // Sums that are equal on paper differ in their last digit.
  const bound = seen - 1e-9 * sizes.reduce((sum, each) => sum + each, 0) - 1e-300;
  let extreme = 0;
  for (let signs = 0; signs < 2 ** n; signs += 1) {
    let sum = 0;
    for (let place = 0; place < n; place += 1) sum += (signs >> place) & 1 ? sizes[place] : -sizes[place];
    if (Math.abs(sum) >= bound) extreme += 1;
  }
  return { p: extreme / 2 ** n, n, mean, low, high, method: "exact sign-flip test" };
}
