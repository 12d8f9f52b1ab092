/** OpenMetrics text (the exposition format's specification, version 1.0): families, escaped labels, `# EOF`. */

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly type: "gauge" | "counter" | "info";
  readonly help: string;
  readonly unit?: string;
  readonly samples: readonly Sample[];
}

export const OPEN_METRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/** Label values and help texts: backslash, quote and line feed (section "escaping"). */
const escaped = (text: string): string => text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");

function labelSet(labels: Readonly<Record<string, string>>): string {
  const entries = Object.entries(labels);
  if (entries.length === 0) return "";
  return `{${entries.map(([name, value]) => `${name}="${escaped(value)}"`).join(",")}}`;
}

export function renderOpenMetrics(families: readonly Family[]): string {
  let text = "";
  for (const { name, type, help, unit, samples } of families) {
    text += `# TYPE ${name} ${type}\n`;
    if (unit !== undefined) text += `# UNIT ${name} ${unit}\n`;
    text += `# HELP ${name} ${escaped(help)}\n`;
    // The sample of a counter is named with _total, its family without (section "counter").
    const suffix = type === "counter" ? "_total" : type === "info" ? "_info" : "";
    for (const { labels, value } of samples) text += `${name}${suffix}${labelSet(labels)} ${value}\n`;
  }
  return `${text}# EOF\n`;
}
