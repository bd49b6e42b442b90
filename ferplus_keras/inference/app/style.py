"""How the page looks, on top of Gradio's base theme and in its colours, light and dark."""

from __future__ import annotations

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")

STYLE = """
.gradio-container { width: 100%; max-width: 1180px !important; margin: 0 auto !important; }
.gradio-container { --bar: #93a4bf; --bar-best: #1d5fd0; --trough: #e7eaf0;
  --body-text-color-subdued: #596273; }
.dark .gradio-container, .gradio-container.dark { --bar: #64748b; --bar-best: #74b0ff;
  --trough: #333d4d; --body-text-color-subdued: #a3adbc; }
.html-container { padding: 0 !important; }
#lead h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.01em; }
#lead p { margin: 6px 0 0; color: var(--body-text-color-subdued); }
.drawn img { display: block; width: 100%; max-height: 78vh; object-fit: contain;
  border-radius: 10px; }
#picture img { visibility: hidden; }
.message { margin: 0; padding: 12px 14px; border-radius: 10px; overflow-wrap: anywhere;
  border: 1px solid var(--border-color-primary); border-left: 4px solid #c2410c;
  background: var(--block-background-fill); }
.faces { display: grid; gap: 12px; }
.faces article { padding: 14px; border: 1px solid var(--border-color-primary); border-radius: 10px;
  background: var(--block-background-fill); }
.faces header { display: flex; gap: 12px; align-items: center; margin-bottom: 10px; }
.faces header img { width: 64px; height: 64px; border-radius: 6px; }
.faces h3 { margin: 0; font-size: 1.2rem; line-height: 1.25; text-transform: capitalize; }
.faces small { display: block; font-size: .85rem; font-weight: 400; text-transform: none;
  color: var(--body-text-color-subdued); }
.faces ul { list-style: none; margin: 0; padding: 0; display: grid; gap: 3px; }
.faces li { display: grid; grid-template-columns: 6em 1fr 4.6em; gap: 10px; align-items: center;
  margin: 0; font-size: .92rem; font-variant-numeric: tabular-nums; }
.faces li i { height: 12px; border-radius: 3px; background:
  linear-gradient(90deg, var(--bar) calc(var(--v) * 100%), var(--trough) 0); }
.faces li b { font-weight: 400; text-align: right; color: var(--body-text-color-subdued); }
.faces .best span, .faces .best b { font-weight: 650; color: var(--body-text-color); }
.faces .best i { --bar: var(--bar-best); }
.why { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; margin: 0; }
.why img { width: 100%; image-rendering: pixelated; border-radius: 8px; }
.why figcaption { grid-column: 1 / -1; font-size: .92rem; }
.why p { margin: 0 0 4px; }
.why .key { color: var(--body-text-color-subdued); }
.why .key i { display: inline-block; width: 110px; height: 10px; border-radius: 3px;
  margin: 0 6px; background: linear-gradient(90deg, var(--scale)); }
.batch { display: grid; gap: 10px; }
.batch .scroll { overflow-x: auto; }
.batch .caption { margin: 0; color: var(--body-text-color-subdued); }
.batch table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.batch table, .batch thead, .batch tr, .batch th, .batch td { border: 0 !important; }
.batch th, .batch td { padding: 5px 10px !important; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--border-color-primary) !important; }
.batch thead th { font-weight: 600; color: var(--body-text-color-subdued); }
.batch tbody th { font-weight: 400; }
.batch td img { width: 40px; height: 40px; border-radius: 4px; }
.batch .bar { min-width: 110px; background: linear-gradient(90deg, var(--trough)
  calc(var(--v) * 100%), transparent 0) no-repeat 4px 6px / calc(100% - 8px) calc(100% - 12px); }
.download { justify-self: start; padding: 8px 16px; border-radius: 8px; font-weight: 600;
  color: #fff !important; background: #1d5fd0; text-decoration: none !important; }
.download:focus-visible { outline: 2px solid var(--bar-best); outline-offset: 2px; }
footer { display: none !important; }
@media (max-width: 480px) {
  #lead h1 { font-size: 1.4rem; }
  .gradio-container .main { padding: 12px !important; }
  .faces li { grid-template-columns: 5.6em 1fr 4.6em; gap: 8px; }
}
"""


def look() -> dict:
    """Return theme and style as Gradio takes them; nothing in them is fetched from elsewhere."""
    import gradio

    theme = gradio.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONTS)
    return {"theme": theme, "css": STYLE}
